package web

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"rozobox/pkg/metrics"
)

// ask sends one request to the page.
func ask(method, target string, header http.Header) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for key, values := range header {
		r.Header[key] = values
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFilesAreServed(t *testing.T) {
	for target, want := range map[string]string{
		"/":          "text/html; charset=utf-8",
		"/?volume=a": "text/html; charset=utf-8",
		"/style.css": "text/css; charset=utf-8",
		"/main.js":   "text/javascript; charset=utf-8",
		"/icon.svg":  "image/svg+xml",
	} {
		r := ask(http.MethodGet, target, nil)
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != want {
			t.Errorf("%s: %s, %q; want 200, %q", target, r.Status, r.Header.Get("Content-Type"), want)
		}
		if body(t, r) == "" {
			t.Errorf("%s is empty", target)
		}
	}
}

func TestHeadHasNoBody(t *testing.T) {
	r := ask(http.MethodHead, "/", nil)
	if r.StatusCode != http.StatusOK || r.ContentLength == 0 || body(t, r) != "" {
		t.Errorf("%s, %d bytes", r.Status, r.ContentLength)
	}
}

func TestUnknownPathsAreNotFound(t *testing.T) {
	for _, target := range []string{
		"/index.html", "/nothing", "/page/", "/page/main.js", "/types.d.ts", "/web.go",
		"/../web.go", "//main.js", "/main.js/", "/v1/live",
	} {
		if r := ask(http.MethodGet, target, nil); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s, want 404", target, r.Status)
		}
	}
}

func TestOnlyReadingIsAllowed(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"} {
		r := ask(method, "/", nil)
		if r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %s, Allow %q", method, r.Status, r.Header.Get("Allow"))
		}
	}
}

// The policy goes with every answer, also with those that refuse.
func TestPolicyIsStrict(t *testing.T) {
	for _, target := range []string{"/", "/main.js", "/icon.svg", "/nothing"} {
		r := ask(http.MethodGet, target, nil)
		text := r.Header.Get("Content-Security-Policy")
		for _, want := range []string{
			"default-src 'self'", "object-src 'none'", "base-uri 'none'", "form-action 'none'",
			"frame-ancestors 'none'", "require-trusted-types-for 'script'",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: policy %q lacks %q", target, text, want)
			}
		}
		if strings.Contains(text, "unsafe") || strings.Contains(text, "*") || strings.Contains(text, ":") {
			t.Errorf("%s: policy %q allows too much", target, text)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: content may be guessed", target)
		}
	}
}

func TestUnchangedIsNotSentAgain(t *testing.T) {
	first := ask(http.MethodGet, "/main.js", nil)
	tag := first.Header.Get("ETag")
	if tag == "" || first.Header.Get("Cache-Control") != "no-cache" {
		t.Fatalf("ETag %q, Cache-Control %q", tag, first.Header.Get("Cache-Control"))
	}
	if r := ask(http.MethodGet, "/main.js", http.Header{"If-None-Match": {tag}}); r.StatusCode != http.StatusNotModified {
		t.Errorf("the same: %s, want 304", r.Status)
	}
	if r := ask(http.MethodGet, "/style.css", http.Header{"If-None-Match": {tag}}); r.StatusCode != http.StatusOK {
		t.Errorf("another: %s, want 200", r.Status)
	}
}

// Nothing in the page points elsewhere, and all that it points to is there.
func TestPageIsWhole(t *testing.T) {
	names, err := os.ReadDir("page")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`(?:src|href|from|import)[ =(]*["']([^"'#]+)["']`)
	for _, name := range names {
		text := readPage(t, name.Name())
		if strings.Contains(strings.ReplaceAll(text, "http://www.w3.org/2000/svg", ""), "://") {
			t.Errorf("%s names another server", name.Name())
		}
		if path.Ext(name.Name()) == ".ts" {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := path.Join("/", m[1])
			if strings.HasSuffix(target, ".d.ts") {
				continue // named in comments
			}
			if r := ask(http.MethodGet, target, nil); r.StatusCode != http.StatusOK {
				t.Errorf("%s wants %s: %s", name.Name(), m[1], r.Status)
			}
		}
	}
}

func readPage(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(path.Join("page", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The page's types have each key of the stream, and no other.
func TestTypesAreThoseOfTheStream(t *testing.T) {
	written := interfaces(readPage(t, "types.d.ts"))
	for _, v := range []any{
		metrics.Cluster{}, metrics.Card{}, metrics.Host{}, metrics.Gateway{}, metrics.Volume{},
		metrics.Job{}, metrics.Event{}, metrics.Stripe{}, metrics.StripeChunk{}, metrics.Film{},
	} {
		of := reflect.TypeOf(v)
		var want []string
		for f := range of.Fields() {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if strings.Contains(options, "omit") {
				name += "?"
			}
			want = append(want, name)
		}
		if got := written[of.Name()]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: types.d.ts has\n%q, the stream has\n%q", of.Name(), got, want)
		}
	}
}

// interfaces returns the keys of each interface that is declared in text.
func interfaces(text string) map[string][]string {
	all := map[string][]string{}
	block := regexp.MustCompile(`(?s)export interface (\w+) \{\n(.*?)\n\}`)
	key := regexp.MustCompile(`(?m)^  (\w+\??):`)
	for _, m := range block.FindAllStringSubmatch(text, -1) {
		for _, k := range key.FindAllStringSubmatch(m[2], -1) {
			all[m[1]] = append(all[m[1]], k[1])
		}
	}
	return all
}
