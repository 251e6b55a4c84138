// Package readme_test does what README.md and the files in docs say. Fenced ```sh blocks behind a line `<!-- run -->` are
// run as they stand, each in an environment of its own, so that their order does not matter.
package readme_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// root is the top of the repository.
const root = "../.."

// blockLimit is how long a block may take; `make demo` is the longest thing that makes sense in one.
const blockLimit = 3 * time.Minute

// insideEnv tells this test that it is run by a block of README.md, as a block with `make test` would.
const insideEnv = "NFT_OFFLOAD_README"

func TestMarkedBlocksOfTheDocumentsWork(t *testing.T) {
	if os.Getenv(insideEnv) != "" {
		t.Fatal("a marked block runs this test, which runs the marked blocks: take the marker away")
	}
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	readme := filepath.Join(root, "README.md")
	for _, path := range append(docs, readme) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		marked, err := blocks(string(text))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if path == readme && len(marked) == 0 {
			t.Fatalf("no block of README.md is marked: put a line %s before a ```sh block", marker)
		}
		for _, b := range marked {
			t.Run(fmt.Sprintf("%s line %d", filepath.Base(path), b.Line), func(t *testing.T) { works(t, path, b) })
		}
	}
}

// works runs one block.
func works(t *testing.T, path string, b block) {
	t.Helper()
	if len(b.Commands) == 0 {
		t.Fatal("the block has no command")
	}
	n, dir := scratch(t)
	if out, err := runBlock(t, n, dir, b); err != nil {
		t.Errorf("%s, block of line %d: %v: the last command shown failed:\n%s", path, b.Line, err, out)
	}
}

// scratch is a machine for one block: a namespace with the devices that README.md and the examples name, and a
// directory with a copy of the repository ("src"), a place to install to ("root"), an /etc ("etc") with a ruleset in
// it, and programs ("bin"): nft-offload of this tree, for blocks that do not build it, and a sudo that needs no sudo.
func scratch(t *testing.T) (*testkit.NS, string) {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc)
	n, outside := testkit.NewNS(t, "readme"), testkit.NewNS(t, "outside")
	for _, d := range []string{"r0", "r1", "eth0", "eth1"} {
		testkit.Veth(t, n, d, outside, d)
	}
	dir := t.TempDir()
	copyTree(t, filepath.Join(dir, "src"))
	for _, sub := range []string{"bin", "root"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(daemon.Binary(t), filepath.Join(dir, "bin", "nft-offload")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", "sudo"), []byte("#!/bin/sh\nexec \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", "/etc", filepath.Join(dir, "etc")).CombinedOutput(); err != nil {
		t.Fatalf("copy /etc: %v: %s", err, out)
	}
	if out, err := exec.Command("cp", filepath.Join(root, "examples", "router.nft"), filepath.Join(dir, "etc", "nftables.conf")).CombinedOutput(); err != nil {
		t.Fatalf("write nftables.conf: %v: %s", err, out)
	}
	return n, dir
}

// copyTree copies the repository without its history and without what was built.
func copyTree(t *testing.T, to string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case name == ".git" && !d.IsDir():
			return nil // of a linked worktree
		case name == ".git" || name == "bin":
			return filepath.SkipDir
		case d.IsDir():
			return os.Mkdir(filepath.Join(to, name), 0o755)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, info.Mode().Perm())
	})
	if err != nil {
		t.Fatalf("copy the repository: %v", err)
	}
}

// prelude makes the directory's etc the machine's, in the mount namespace of the block alone, and gives the script
// what it calls. Whatever daemon is left is withdrawn at the end.
const prelude = `set -eu
mount --bind "$SCRATCH/etc" /etc
running() {
	i=0
	until nft-offload status >/dev/null 2>&1; do
		i=$((i + 1))
		[ "$i" -lt 200 ] && kill -0 "$!" || return 1
		sleep 0.05
	done
}
trap 'nft-offload withdraw >/dev/null; wait' EXIT
`

// given is a daemon for blocks that ask for its state without having started it.
const given = `nft-offload load examples/router.nft >/dev/null
nft-offload run &
running
`

// script is what sh(1) runs for a block: it shows each command before it runs it, and ends with the first that fails.
// Commands share one shell, as they do when typed. A daemon in the foreground, for which a person opens a second
// terminal, goes on in the background; the next command waits until it answers.
func script(b block) string {
	var s strings.Builder
	s.WriteString(prelude)
	if asks := regexp.MustCompile(`\bnft-offload (status|flows)\b`); slices.ContainsFunc(b.Commands, asks.MatchString) &&
		!slices.ContainsFunc(b.Commands, daemonCommand().MatchString) {
		s.WriteString(given)
	}
	for _, c := range b.Commands {
		fmt.Fprintf(&s, "printf '%%s\\n' '+ %s' >&2\n", strings.ReplaceAll(c, "'", `'\''`))
		if foreground(c) {
			c = fmt.Sprintf("{ %s\n} &\nrunning", c)
		}
		// sh -e goes on where the first of `a && b` fails.
		s.WriteString(c + "\n[ $? -eq 0 ] || exit 1\n")
	}
	return s.String()
}

func daemonCommand() *regexp.Regexp {
	return regexp.MustCompile(`\bnft-offload( --netns \S+)? run(\s|$)`)
}

// foreground reports whether a command is a daemon that would not come back.
func foreground(command string) bool {
	return daemonCommand().MatchString(command) && !strings.HasSuffix(command, "&")
}

// runBlock runs a block and returns what it printed.
func runBlock(t *testing.T, n *testkit.NS, dir string, b block) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), blockLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "sh", "-c", script(b))
	cmd.Dir, cmd.Env = filepath.Join(dir, "src"), environment(dir)
	cmd.WaitDelay = time.Second // a daemon may hold the pipe
	var out []byte
	err := n.Do(func() (err error) { out, err = cmd.CombinedOutput(); return err })
	// A block that took too long has not come to its own end.
	if said, werr := daemon.Command(t, n, "withdraw"); werr != nil {
		t.Errorf("withdraw: %v: %s", werr, said)
	}
	return string(out), err
}

// environment is the test's own, without what a make that runs the test has put into it, and with the scratch
// directory: installing goes there (DESTDIR), and programs are found there first.
func environment(dir string) []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !slices.Contains([]string{"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "TESTS", "TESTFLAGS", "PREFIX", "PATH"}, name) {
			env = append(env, v)
		}
	}
	installed := filepath.Join(dir, "root", "usr", "local", "sbin")
	return append(env, insideEnv+"=1", "SCRATCH="+dir, "DESTDIR="+filepath.Join(dir, "root"),
		fmt.Sprintf("PATH=%s:%s:%s", installed, filepath.Join(dir, "bin"), os.Getenv("PATH")))
}
