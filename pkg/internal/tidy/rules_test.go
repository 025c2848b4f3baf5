package tidy

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"path"
	"regexp"
	"slices"
	"strings"
)

// rules judge one Go file each.
var rules = map[string]func(*source) []string{
	"imports": checkImports,
	"modules": checkModules,
	"lengths": checkLengths,
	"gofmt":   checkFormat,
	"clocks":  checkClocks,
}

// checkImports holds imports within this module to the table.
func checkImports(s *source) (found []string) {
	allowed, known := mayImport[s.dir()]
	if !known {
		return []string{s.violation(s.syntax.Package, "package %s is not in the table", s.dir())}
	}
	if s.isTest() {
		if slices.Contains(mayImportAll, s.dir()) {
			return nil
		}
		allowed = slices.Concat(allowed, testsMayImport[s.dir()],
			[]string{s.dir(), contract, contract + "/chunktest"})
	}
	for _, spec := range s.syntax.Imports {
		name, within := strings.CutPrefix(unquote(spec), module+"/")
		if within && !slices.Contains(allowed, name) {
			found = append(found, s.violation(spec.Pos(), "%s may not import %s", s.dir(), name))
		}
	}
	return found
}

// checkModules holds imports from third parties to their owners.
func checkModules(s *source) (found []string) {
	for _, spec := range s.syntax.Imports {
		name := unquote(spec)
		first, _, _ := strings.Cut(name, "/")
		if !strings.Contains(first, ".") {
			continue // this module or the standard library
		}
		owner, known := ownerOf(name)
		switch {
		case !known:
			found = append(found, s.violation(spec.Pos(), "module of %s is not in the table", name))
		case owner != "" && owner != s.dir() && !(s.isTest() && slices.Contains(mayImportAll, s.dir())):
			found = append(found, s.violation(spec.Pos(), "only %s may import %s", owner, name))
		}
	}
	return found
}

// ownerOf returns the owner of the smallest part that name belongs to.
func ownerOf(name string) (owner string, known bool) {
	longest := ""
	for m := range owners {
		if (name == m || strings.HasPrefix(name, m+"/")) && len(m) > len(longest) {
			longest = m
		}
	}
	owner, known = owners[longest]
	return owner, known
}

func checkLengths(s *source) (found []string) {
	if n := bytes.Count(s.text, []byte("\n")); n > maxFile {
		found = append(found, fmt.Sprintf("%s:%d: more than %d lines", s.path, n, maxFile))
	}
	s.functions(func(f *ast.FuncDecl) {
		if n := s.line(f.End()) - s.line(f.Pos()) + 1; n > maxFunction {
			found = append(found, s.violation(f.Pos(), "%s has %d lines, more than %d", f.Name, n, maxFunction))
		}
	})
	return found
}

func checkFormat(s *source) []string {
	formatted, err := format.Source(s.text)
	if err != nil {
		return []string{fmt.Sprintf("%s:1: %v", s.path, err)}
	}
	if bytes.Equal(formatted, s.text) {
		return nil
	}
	line := 1
	for i := 0; i < min(len(formatted), len(s.text)) && formatted[i] == s.text[i]; i++ {
		if s.text[i] == '\n' {
			line++
		}
	}
	return []string{fmt.Sprintf("%s:%d: not as gofmt writes it", s.path, line)}
}

// checkPackageComments finds packages that do not say what they are.
func checkPackageComments(sources []*source) (found []string) {
	first, documented := map[string]*source{}, map[string]bool{}
	for _, s := range sources {
		if s.isTest() {
			continue
		}
		if first[s.dir()] == nil {
			first[s.dir()] = s
		}
		documented[s.dir()] = documented[s.dir()] || s.syntax.Doc != nil
	}
	for dir, s := range first {
		if !documented[dir] {
			found = append(found, s.violation(s.syntax.Package, "package %s has no comment, write a doc.go", dir))
		}
	}
	return found
}

// checkTopLevel judges the names in the repository's root; what .gitignore
// names does not count.
func checkTopLevel(names []string, gitignore string) (found []string) {
	ignored := strings.Fields(gitignore)
	for _, name := range names {
		matches := func(pattern string) bool {
			ok, err := path.Match(strings.Trim(pattern, "/"), name)
			return err == nil && ok
		}
		if !strings.HasPrefix(name, ".") && !slices.Contains(topLevel, name) &&
			!slices.ContainsFunc(ignored, matches) {
			found = append(found, name+":1: does not belong at the top level")
		}
	}
	return found
}

// banned are words that no text of the repository may have. Brackets keep the
// expressions from finding themselves.
var banned = map[*regexp.Regexp]string{
	regexp.MustCompile(`\b(TOD[O]|FIXM[E]|XX[X])\b`):            "unfinished: do it or file an issue",
	regexp.MustCompile(`/(home|Users)/[a-z]|/(roo[t]|wor[k])/`): "a path of somebody's machine",
}

func checkWords(name string, text []byte) (found []string) {
	for i, line := range bytes.Split(text, []byte("\n")) {
		for words, why := range banned {
			if m := words.Find(line); m != nil {
				found = append(found, fmt.Sprintf("%s:%d: %q: %s", name, i+1, m, why))
			}
		}
	}
	return found
}

// timeless are the packages in which nothing may depend on the wall clock: that
// of any machine may be set back a year. Differences of time.Now are of a clock
// that is not set.
var timeless = []string{
	"pkg/chunk", "pkg/chunkstore", "pkg/cluster", "pkg/erasure", "pkg/repair", "pkg/stripe", "pkg/volume",
}

// wallClock are the methods and functions that read it off a time, or make one.
var wallClock = []string{
	"Unix", "UnixNano", "UnixMilli", "UnixMicro", "UTC", "Local", "In", "Round", "Date", "Parse",
	"ModTime", "Format", "AppendFormat", "MarshalBinary", "MarshalText",
}

// checkClocks finds what could make the time of day matter.
func checkClocks(s *source) (found []string) {
	if s.isTest() || !slices.Contains(timeless, s.dir()) {
		return nil
	}
	ast.Inspect(s.syntax, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if f, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains(wallClock, f.Sel.Name) {
			found = append(found, s.violation(f.Sel.Pos(), "%s may tell the time of day, which may be wrong", f.Sel.Name))
		}
		return true
	})
	return found
}
