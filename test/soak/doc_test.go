// Package soak runs the same script twice, without the daemon and with it, and compares what became of the connections.
// The table it prints is docs/reliability.md; `make soak` runs its full form, `go test` a short one.
package soak
