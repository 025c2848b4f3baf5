package tidy

import (
	"go/ast"
	"maps"
	"strings"
)

// function is one function of a package's tests.
type function struct {
	source  *source
	decl    *ast.FuncDecl
	uses    map[string]bool // every name in it, so also those of what it calls
	sleeps  []*ast.SelectorExpr
	bubbles bool // it uses synctest
}

// checkSleeps finds tests that wait for real time to pass: they are slow, and
// still fail on a slow machine. In a synctest bubble time is not real. Calls
// are followed by name alone, which is enough to tell a test that runs in a
// bubble of its package's rig from one that does not.
func checkSleeps(sources []*source) (found []string) {
	packages := map[string][]*function{}
	for _, s := range sources {
		if s.isTest() {
			packages[s.dir()] = append(packages[s.dir()], functionsOf(s)...)
		}
	}
	for _, functions := range packages {
		seen, real := reachable(functions)
		for _, f := range functions {
			if !real[f] && (seen[f] || f.source.importName("testing/synctest") != "") {
				continue
			}
			for _, sleep := range f.sleeps {
				found = append(found, f.source.violation(sleep.Pos(),
					"%s sleeps outside a synctest bubble", f.decl.Name))
			}
		}
	}
	return found
}

func functionsOf(s *source) (all []*function) {
	s.functions(func(decl *ast.FuncDecl) {
		f := &function{source: s, decl: decl, uses: map[string]bool{},
			sleeps:  selections(decl, s.importName("time"), "Sleep"),
			bubbles: len(selections(decl, s.importName("testing/synctest"), "")) > 0,
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			if name, ok := n.(*ast.Ident); ok {
				f.uses[name.Name] = true
			}
			return true
		})
		all = append(all, f)
	})
	return all
}

// isEntry reports whether the go command calls f.
func isEntry(f *ast.FuncDecl) bool {
	for _, prefix := range []string{"Test", "Benchmark", "Fuzz", "Example"} {
		if f.Recv == nil && strings.HasPrefix(f.Name.Name, prefix) {
			return true
		}
	}
	return false
}

// reachable returns the functions that any test reaches, and those of them
// that are reached by a test without a bubble, in real time.
func reachable(functions []*function) (seen, real map[*function]bool) {
	seen, real = map[*function]bool{}, map[*function]bool{}
	for _, test := range functions {
		if !isEntry(test.decl) {
			continue
		}
		reached, bubbles := reach(test, functions), false
		for f := range reached {
			seen[f] = true
			bubbles = bubbles || f.bubbles
		}
		if !bubbles {
			maps.Copy(real, reached)
		}
	}
	return seen, real
}

func reach(from *function, functions []*function) map[*function]bool {
	reached, queue := map[*function]bool{from: true}, []*function{from}
	for len(queue) > 0 {
		f := queue[0]
		queue = queue[1:]
		for _, next := range functions {
			if f.uses[next.decl.Name.Name] && !reached[next] {
				reached[next] = true
				queue = append(queue, next)
			}
		}
	}
	return reached
}

// selections returns each use of name, or of any name if it is empty, of an
// imported package.
func selections(f *ast.FuncDecl, of, name string) (found []*ast.SelectorExpr) {
	ast.Inspect(f, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := selector.X.(*ast.Ident)
		if ok && x.Name == of && (name == "" || selector.Sel.Name == name) {
			found = append(found, selector)
		}
		return true
	})
	return found
}
