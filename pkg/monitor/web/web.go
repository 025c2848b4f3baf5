package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"net/http"
	"path"
	"time"
)

// The names are listed by kind: what only helps to write the page stays out.
//
//go:embed page/*.html page/*.css page/*.js page/*.svg
var pages embed.FS

const index = "index.html"

// contentTypes are told by the name, not by the tables of the machine.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// policy lets the browser ask nobody but this server, run no script but the
// page's own, and make no HTML of text.
const policy = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; " +
	"frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// file is one file of the page.
type file struct {
	text        []byte
	contentType string
	tag         string // of its content, so that a new program is a new page
}

type handler map[string]file // by path

// Handler serves the page at / and its files beside it. It refuses whatever
// does not read.
func Handler() http.Handler {
	h := handler{}
	names, err := fs.Glob(pages, "page/*")
	if err != nil {
		panic("web: " + err.Error()) // the pattern is a constant
	}
	for _, name := range names {
		text, err := pages.ReadFile(name)
		if err != nil {
			panic("web: " + err.Error()) // they are part of the program
		}
		h[pathOf(path.Base(name))] = newFile(name, text)
	}
	return h
}

func pathOf(name string) string {
	if name == index {
		return "/"
	}
	return "/" + name
}

func newFile(name string, text []byte) file {
	sum := sha256.Sum256(text)
	return file{
		text:        text,
		contentType: contentTypes[path.Ext(name)],
		tag:         `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`,
	}
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	f, ok := h[r.URL.Path]
	switch {
	case !ok:
		http.NotFound(w, r)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "this page is only read", http.StatusMethodNotAllowed)
		return
	}
	header.Set("Content-Type", f.contentType)
	header.Set("ETag", f.tag)
	header.Set("Cache-Control", "no-cache") // ask each time, with the tag
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.text))
}
