package attach

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// exportServer answers handshakes with one export, byte for byte as the
// protocol's text has it.
type exportServer struct {
	name        string
	size        uint64
	flags       uint16
	description string
}

func (s exportServer) greeting() []byte {
	b := binary.BigEndian.AppendUint64(nil, magicServer)
	b = binary.BigEndian.AppendUint64(b, magicOption)
	return binary.BigEndian.AppendUint16(b, flagFixedNewstyle|flagNoZeroes)
}

func optionReply(kind uint32, data []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, magicReply)
	b = binary.BigEndian.AppendUint32(b, optionGo)
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

// answer is what follows option GO.
func (s exportServer) answer() []byte {
	info := binary.BigEndian.AppendUint16(nil, infoExport)
	info = binary.BigEndian.AppendUint64(info, s.size)
	info = binary.BigEndian.AppendUint16(info, s.flags)
	b := optionReply(replyInfo, info)
	sizes := binary.BigEndian.AppendUint16(nil, infoBlockSize)
	for _, v := range []uint32{512, 65536, 1 << 25} {
		sizes = binary.BigEndian.AppendUint32(sizes, v)
	}
	b = append(b, optionReply(replyInfo, sizes)...)
	text := append([]byte{0, infoDescription}, s.description...)
	b = append(b, optionReply(replyInfo, text)...)
	b = append(b, optionReply(replyInfo, []byte{0, 99, 1, 2, 3})...) // of a kind unknown today
	return append(b, optionReply(replyAck, nil)...)
}

// serve speaks one handshake on conn.
func (s exportServer) serve(conn io.ReadWriter) error {
	if _, err := conn.Write(s.greeting()); err != nil {
		return err
	}
	var head [24]byte // client flags, option header, length of the name
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	rest := make([]byte, binary.BigEndian.Uint32(head[16:])-4)
	if _, err := io.ReadFull(conn, rest); err != nil {
		return err
	}
	name := string(rest[:binary.BigEndian.Uint32(head[20:])])
	answer := s.answer()
	if name != s.name {
		answer = optionReply(replyErrUnknown, []byte("no such export"))
	}
	_, err := conn.Write(answer)
	return err
}

// script is a peer that says fixed bytes and listens to nothing.
type script struct{ io.Reader }

func (script) Write(p []byte) (int, error) { return len(p), nil }

func TestHandshakeTellsTheExport(t *testing.T) {
	server := exportServer{name: "photos", size: 1 << 40, flags: 0x16d, description: "Rozobox volume=ab incarnation=7 of 4+2"}
	client, conn := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- server.serve(conn) }()
	got, err := Handshake(client, "photos")
	if err := errors.Join(err, <-served); err != nil {
		t.Fatal(err)
	}
	want := Export{
		Name: "photos", Size: 1 << 40, Flags: 0x16d,
		MinBlock: 512, PreferredBlock: 65536, MaxBlock: 1 << 25, Description: server.description,
	}
	if got != want {
		t.Errorf("export\n%+v, want\n%+v", got, want)
	}
	if got.Incarnation() != "7" {
		t.Errorf("incarnation %q, want 7", got.Incarnation())
	}
}

// The socket goes to the kernel: a byte too much that was read here is a byte
// of a reply that the kernel misses.
func TestHandshakeReadsNothingBeyond(t *testing.T) {
	s := exportServer{size: 4096, flags: 1}
	r := bytes.NewReader(append(append(s.greeting(), s.answer()...), "next"...))
	if _, err := Handshake(script{r}, ""); err != nil {
		t.Fatal(err)
	}
	if r.Len() != len("next") {
		t.Errorf("%d bytes left, want %d", r.Len(), len("next"))
	}
}

func TestHandshakeUnknownExport(t *testing.T) {
	r := bytes.NewReader(append(exportServer{}.greeting(), optionReply(replyErrUnknown, nil)...))
	if _, err := Handshake(script{r}, "nope"); !errors.Is(err, ErrUnknownExport) {
		t.Errorf("error %v, want ErrUnknownExport", err)
	}
}

func TestHandshakeRefusesNonsense(t *testing.T) {
	good := exportServer{size: 4096, flags: 1}
	ack := optionReply(replyAck, nil)
	shortInfo := optionReply(replyInfo, []byte{0, infoExport, 1})
	huge := exportServer{size: 1 << 63, flags: 1}
	long := optionReply(replyInfo, nil)
	binary.BigEndian.PutUint32(long[16:], maxReply+1)
	for name, answer := range map[string][]byte{
		"no export information": ack,
		"short information":     append(shortInfo, ack...),
		"empty information":     append(optionReply(replyInfo, nil), ack...),
		"size above 2^63":       huge.answer(),
		"refused":               optionReply(replyErrorBit|2, []byte("policy")),
		"unknown reply":         optionReply(77, nil),
		"length beyond bound":   long,
		"endless information":   bytes.Repeat(optionReply(replyInfo, []byte{0, 99}), maxReplies+1),
		"wrong magic":           append([]byte("garbage!"), ack...),
	} {
		_, err := Handshake(script{bytes.NewReader(append(good.greeting(), answer...))}, "")
		if !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: error %v, want ErrProtocol", name, err)
		}
	}
	if _, err := Handshake(script{strings.NewReader("SSH-2.0-OpenSSH_9.2\r\n")}, ""); !errors.Is(err, ErrProtocol) {
		t.Errorf("ssh server: error %v, want ErrProtocol", err)
	}
	if _, err := Handshake(script{bytes.NewReader(good.greeting())}, strings.Repeat("x", maxName+1)); err == nil {
		t.Error("a name beyond the protocol's bound was accepted")
	}
}

func FuzzHandshake(f *testing.F) {
	s := exportServer{size: 1 << 30, flags: 0x16d, description: "incarnation=1"}
	f.Add(append(s.greeting(), s.answer()...))
	f.Add(append(s.greeting(), optionReply(replyErrUnknown, nil)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		export, err := Handshake(script{bytes.NewReader(b)}, "")
		if err == nil && (export.Size < 0 || export.MinBlock == 0) {
			t.Errorf("accepted %+v", export)
		}
	})
}
