package tidy

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// tree is the repository.
type tree struct {
	sources    []*source
	texts      map[string][]byte // by path
	violations []string          // found while reading it
}

func TestRepositoryIsTidy(t *testing.T) {
	root := findRoot(t)
	repository := readTree(t, root)
	report(t, repository.violations)
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			var found []string
			for _, s := range repository.sources {
				found = append(found, rule(s)...)
			}
			report(t, found)
		})
	}
	t.Run("package comments", func(t *testing.T) { report(t, checkPackageComments(repository.sources)) })
	t.Run("sleeps", func(t *testing.T) { report(t, checkSleeps(repository.sources)) })
	t.Run("words", func(t *testing.T) {
		var found []string
		for name, text := range repository.texts {
			found = append(found, checkWords(name, text)...)
		}
		report(t, found)
	})
	t.Run("top level", func(t *testing.T) { reportTopLevel(t, root) })
}

func report(t *testing.T, violations []string) {
	t.Helper()
	if len(violations) > 0 {
		slices.Sort(violations)
		t.Errorf("not tidy:\n%s", strings.Join(violations, "\n"))
	}
}

func reportTopLevel(t *testing.T, root string) {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	gitignore, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	report(t, checkTopLevel(names, string(gitignore)))
}

// findRoot returns the nearest directory above that has a go.mod.
func findRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod in any directory above")
		}
		dir = filepath.Dir(dir)
	}
}

// readTree reads every text file of the repository, but for test data.
func readTree(t *testing.T, root string) *tree {
	t.Helper()
	r := &tree{texts: map[string][]byte{}}
	for _, top := range topLevel {
		err := fs.WalkDir(os.DirFS(root), top, func(name string, e fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil // not there yet, or another test's file that is gone
			case err != nil:
				return err
			case e.IsDir() && (e.Name() == "testdata" || e.Name() == "node_modules" || strings.HasPrefix(e.Name(), ".")):
				return fs.SkipDir
			case !e.Type().IsRegular():
				return nil
			}
			return r.read(root, name)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *tree) read(root, name string) error {
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil || !utf8.Valid(text) {
		return err
	}
	r.texts[name] = text
	if path.Ext(name) != ".go" {
		return nil
	}
	s, err := parse(name, text)
	if err != nil {
		r.violations = append(r.violations, err.Error())
		return nil
	}
	r.sources = append(r.sources, s)
	return nil
}
