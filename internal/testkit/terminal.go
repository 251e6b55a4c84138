package testkit

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// OpenTerminal makes a pseudo-terminal (pty(7)) and returns both sides. The test's own is closed at its end; the other
// is for a program, and the test closes it once the program has it.
func OpenTerminal(t testing.TB) (ours, theirs *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("open /dev/ptmx: %v", err)
	}
	ours = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { _ = ours.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatalf("unlock terminal: %v", err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatalf("find terminal: %v", err)
	}
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// InterruptAt reads what a program shows on its terminal until it has ended, for at most limit, types Ctrl-C when it
// shows the word, and returns everything.
func InterruptAt(t testing.TB, terminal *os.File, word string, limit time.Duration) string {
	t.Helper()
	if err := terminal.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	b := make([]byte, 4096)
	for typed := false; ; {
		n, err := terminal.Read(b)
		seen.Write(b[:n])
		if errors.Is(err, unix.EIO) { // the other side has no process any more
			if !typed {
				t.Errorf("the program never showed %q", word)
			}
			return seen.String()
		}
		if err != nil {
			t.Fatalf("read terminal: %v: %s", err, seen.String())
		}
		if !typed && strings.Contains(seen.String(), word) {
			typed = true
			if _, err := terminal.Write([]byte{3}); err != nil { // Ctrl-C, to all that run in the foreground
				t.Fatal(err)
			}
		}
	}
}
