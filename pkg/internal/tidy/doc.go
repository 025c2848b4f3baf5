// Package tidy holds the tests that keep the repository in shape: which
// package may import which, which may use a third-party module, how long files
// and functions may be. Run them with
//
//	go test ./pkg/internal/tidy
//
// Every violation is printed with its file and line. Whoever needs a new edge
// between packages, or a new module, changes the tables in tables_test.go, and
// says why.
package tidy
