package daemon

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// signatureHeader carries "NANOSECONDS SIGNATURE": when the request was
// signed, and the ECDSA signature of its digest in base64.
const signatureHeader = "Rozobox-Signature"

// signedFor is how long a signature is good. It covers two machines' clocks,
// not a thief's patience.
const signedFor = 30 * time.Second

// digest is what is signed: everything that a request says.
func digest(method, path, at string, body []byte) []byte {
	sum := sha256.Sum256(body)
	text := fmt.Sprintf("rozobox admin\n%s\n%s\n%s\n%x", method, path, at, sum)
	sum = sha256.Sum256([]byte(text))
	return sum[:]
}

// signature signs a request for the admin API with the gateway's own key:
// whoever may read that may act as the gateway anyway.
func signature(key crypto.Signer, now time.Time, method, path string, body []byte) (string, error) {
	at := strconv.FormatInt(now.UnixNano(), 10)
	sig, err := key.Sign(rand.Reader, digest(method, path, at, body), crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("sign the request: %w", err)
	}
	return at + " " + base64.StdEncoding.EncodeToString(sig), nil
}

// verifier decides whether a request comes from an owner of the gateway's
// private key, just now and for the first time.
type verifier struct {
	key     crypto.PublicKey
	started time.Time // what was signed before was for another process

	mu   sync.Mutex // guards seen
	seen map[int64]bool
}

var (
	errUnsigned = errors.New("this request changes something: it must be signed " +
		"with the gateway's private key; use `rozobox` with --config gateway.toml")
	errStale = errors.New("the request was signed at another time, or came twice; " +
		"check both clocks and try again")
)

func (v *verifier) verify(header string, now time.Time, method, path string, body []byte) error {
	at, encoded, _ := strings.Cut(header, " ")
	nanos, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return errUnsigned
	}
	sig, err := base64.StdEncoding.DecodeString(encoded)
	key, ok := v.key.(*ecdsa.PublicKey)
	if err != nil || !ok || !ecdsa.VerifyASN1(key, digest(method, path, at, body), sig) {
		return errUnsigned
	}
	return v.once(nanos, now)
}

// once refuses what is too old, too new, or seen. It remembers only what was
// signed properly, so strangers cannot fill it.
func (v *verifier) once(nanos int64, now time.Time) error {
	at := time.Unix(0, nanos)
	if at.Before(v.started) || at.Before(now.Add(-signedFor)) || at.After(now.Add(signedFor)) {
		return errStale
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for old := range v.seen {
		if old < now.Add(-signedFor).UnixNano() {
			delete(v.seen, old)
		}
	}
	if v.seen[nanos] {
		return errStale
	}
	v.seen[nanos] = true
	return nil
}
