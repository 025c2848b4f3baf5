package tidy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"strings"
)

// source is one Go file.
type source struct {
	path   string // from the repository's root, with slashes
	text   []byte
	set    *token.FileSet
	syntax *ast.File
}

func parse(name string, text []byte) (*source, error) {
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, name, text, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	return &source{path: name, text: text, set: set, syntax: syntax}, nil
}

// dir names the package, as the tables do.
func (s *source) dir() string { return path.Dir(s.path) }

func (s *source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

func (s *source) line(p token.Pos) int { return s.set.Position(p).Line }

// violation describes what is wrong at a place.
func (s *source) violation(p token.Pos, text string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", s.path, s.line(p), fmt.Sprintf(text, args...))
}

// importName returns the name by which the file calls an imported package.
func (s *source) importName(of string) string {
	for _, spec := range s.syntax.Imports {
		if unquote(spec) != of {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(of)
	}
	return ""
}

func unquote(spec *ast.ImportSpec) string { return strings.Trim(spec.Path.Value, "`\"") }

// functions calls f with every function that is declared in the file.
func (s *source) functions(f func(*ast.FuncDecl)) {
	for _, d := range s.syntax.Decls {
		if function, ok := d.(*ast.FuncDecl); ok {
			f(function)
		}
	}
}
