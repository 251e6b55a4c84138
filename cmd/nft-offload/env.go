package main

import (
	"context"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// env is everything a command takes from its process, so that tests run commands in theirs.
type env struct {
	ctx    context.Context // ends with the first SIGINT or SIGTERM
	args   []string        // without the program's name
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	// terminal says that stdout is a terminal of so many columns; 0: it is none.
	terminal int
	places   places
	// enter moves the whole process into a network namespace. Where it has to start the program anew it does not
	// return.
	enter func(path string) error
	stop  func() // gives the signals back; may be nil
}

func processEnv() *env {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	// A second Ctrl-C ends the process at once.
	context.AfterFunc(ctx, stop)
	return &env{
		ctx: ctx, stop: stop, args: os.Args[1:], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		getenv: os.Getenv, terminal: columns(os.Stdout), places: systemPlaces(), enter: enterNamespace,
	}
}

func columns(f *os.File) int {
	fd := int(f.Fd())
	if !term.IsTerminal(fd) {
		return 0
	}
	w, _, err := term.GetSize(fd)
	if err != nil || w <= 0 {
		return tableWidth
	}
	return w
}

// color says whether output may be colored (https://no-color.org).
func (e *env) color() bool {
	return e.terminal > 0 && e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb"
}
