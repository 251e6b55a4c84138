package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// progress is one line on a terminal that says what goes on; elsewhere it is silent.
type progress struct {
	mu    sync.Mutex
	w     io.Writer
	width int // 0: no terminal
}

// progress goes to stderr, so that stdout stays what was asked for.
func (e *env) progress() *progress {
	p := &progress{w: e.stderr}
	if f, ok := e.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.width = columns(f)
	}
	return p
}

// step shows what is being done; done is the share of the whole that is done, 0 to 1.
func (p *progress) step(what string, done float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.width > 0 {
		fmt.Fprintf(p.w, "\r\x1b[K%s", cut(fmt.Sprintf("%3.0f %%  %s", 100*done, what), p.width-1))
	}
}

// clear takes the line away.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.width > 0 {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// errInterrupted is what a person who pressed Ctrl-C gets.
var errInterrupted = errors.New("interrupted; nothing is left behind")

// interrupted puts the end of the environment's context in words, unless something else went wrong besides.
func interrupted(err error) error {
	if err == nil {
		return nil
	}
	for _, part := range flatten(err) {
		if !errors.Is(part, context.Canceled) {
			return err
		}
	}
	return withCode(exitFailure, errInterrupted)
}
