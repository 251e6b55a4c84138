package daemon_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// others is a ruleset with tables that other programs change: one adds bans, packets fill a set.
const others = `table ip bans {
	set b { type ipv4_addr; }
	set seen { type ipv4_addr; size 1000; flags dynamic; }
	chain c { }
}
table inet filter {
	chain forward { type filter hook forward priority 0; policy accept; }
}
`

// wrapNFT puts a shell script in front of nft(8) for the rest of the test: what every run of it does before the real one,
// which is $nft.
func wrapNFT(t *testing.T, script string) {
	t.Helper()
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := fmt.Sprintf("#!/bin/sh\nnft=%s dir=%s\n%s\nexec $nft \"$@\"\n", nft, dir, script)
	if err := os.WriteFile(filepath.Join(dir, "nft"), []byte(text), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// flag is a file beside the wrapper: a script that begins with `[ -e $dir/on ] || exec $nft "$@"` does nothing before it
// is there.
func flag(t *testing.T, on bool) {
	t.Helper()
	dir, _, _ := strings.Cut(os.Getenv("PATH"), ":")
	file := filepath.Join(dir, "on")
	err := os.Remove(file)
	if on {
		err = os.WriteFile(file, nil, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a command that has to end with a code, and returns what it said in one line.
func run(t *testing.T, ns *testkit.NS, code int, args ...string) string {
	t.Helper()
	out, err := daemon.Command(t, ns, args...)
	out = strings.Join(strings.Fields(out), " ")
	if daemon.ExitCode(err) != code {
		t.Errorf("%q: %v, want code %d: %s", args, err, code, out)
	}
	return out
}

func TestRollbackKeepsWhatOthersChangedMeanwhile(t *testing.T) {
	r := router(t, engine.TC)
	r.Router.NFTables(others)
	for _, settled := range []bool{true, false} {
		r.Router.NFTables("flush set ip bans b\nflush set ip bans seen\n")
		c := loadConfirm(t, r.Router, time.Hour, "table inet q {\n}\n")
		if !settled { // whoever takes over knows what the first guard found out
			if err := unix.Kill(guardOf(t, r.Router), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		r.Router.NFTables("add element ip bans b { 203.0.113.66 }\nadd element ip bans seen { 10.0.0.1 }\ntable ip docker {\n}\n")
		if said := run(t, r.Router, 0, "rollback"); !strings.HasSuffix(said, "is back: removed inet q") {
			t.Errorf("rollback: %s", said)
		}
		if code := c.code(); code != 9 {
			t.Errorf("code %d: %s", code, c.out)
		}
		now := rulesetOf(r.Router)
		for _, part := range []string{"203.0.113.66", "10.0.0.1", "table ip docker"} {
			if !strings.Contains(now, part) {
				t.Errorf("%s is gone: %s", part, now)
			}
		}
		r.Router.NFTables("delete table ip docker\n")
	}
}

// A file that nft refuses was never loaded: nothing is there to be taken back, not even what packets did meanwhile.
func TestRefusedLoadTouchesNothing(t *testing.T) {
	r := router(t, engine.TC)
	r.Router.NFTables(others)
	// Elements that packets add in the moment in which the file is checked.
	wrapNFT(t, `[ -e $dir/on ] || exec $nft "$@"
case "$*" in *-c*-I*) $nft add element ip bans seen "{ 10.0.0.1 }"; $nft add element ip bans b "{ 10.0.0.2 }";; esac`)
	file := write(t, "new.nft", "flush ruleset\ntable ip bans {\n frobnicate\n}\n")
	flag(t, true)
	run(t, r.Router, 7, "load", "--confirm", "30s", file)
	flag(t, false)
	now := r.Router.Run("nft", "list", "table", "ip", "bans")
	if !strings.Contains(now, "10.0.0.1") || !strings.Contains(now, "10.0.0.2") {
		t.Errorf("the table was put back: %s", now)
	}
	if files := guardFiles(t, r.Router); len(files) > 0 {
		t.Errorf("left: %q", files)
	}
}

// What could not be rolled back is kept until it is, or until somebody gives it up.
func TestFailedRollbackCanBeTriedAgain(t *testing.T) {
	for _, word := range []string{"confirm", "rollback"} {
		t.Run(word, func(t *testing.T) {
			r := router(t, engine.TC)
			r.Router.NFTables(others)
			before := rulesetOf(r.Router)
			wrapNFT(t, `case "$*" in *-f*) [ -e $dir/on ] && { echo "Error: no memory" >&2; exit 1; };; esac`)
			c := loadConfirm(t, r.Router, time.Second, lockout)
			flag(t, true)
			if code := c.code(); code != 1 || !strings.Contains(c.out.String(), "no memory") {
				t.Errorf("code %d: %s", code, c.out)
			}
			flag(t, false)
			loaded := rulesetOf(r.Router)
			file := write(t, "q.nft", "table inet q {\n}\n")
			for _, args := range [][]string{{"load", file}, {"load", "--confirm", "2s", file}, {"enable", "r0", "r1"}, {"disable"}, {"withdraw", "--restore", file}} {
				if said := run(t, r.Router, 10, args...); !strings.Contains(said, "was not rolled back whole: ") ||
					!strings.Contains(said, "`nft-offload rollback` tries again, `nft-offload confirm` gives the previous ruleset up") {
					t.Errorf("%q: %s", args, said)
				}
			}
			run(t, r.Router, 0, word)
			want := before
			if word == "confirm" {
				want = loaded
			}
			decided(t, r.Router, want)
		})
	}
}

// A load for good and one that waits do not come between one another: what was loaded for good stays.
func TestLoadForGoodBesideOneThatWaits(t *testing.T) {
	r := router(t, engine.TC)
	good := write(t, "good.nft", "table inet good {\n}\n")
	wrapNFT(t, `[ -e $dir/on ] && case "$*" in *-c*) ;; *-I*-f*) sleep 0.5;; esac`) // the load itself takes long
	flag(t, true)
	said := make(chan error, 1)
	cmd := exec.Command(daemon.Binary(t), "load", good)
	if err := r.Router.Start(cmd); err != nil {
		t.Fatal(err)
	}
	go func() { said <- cmd.Wait() }()
	testkit.MustAwait(t, 5*time.Second, func() error {
		if guardOf(t, r.Router) != cmd.Process.Pid {
			return fmt.Errorf("nobody loads")
		}
		return nil
	})
	c := loadConfirm(t, r.Router, time.Hour, "table inet q {\n}\nflush ruleset\n")
	if err := <-said; err != nil {
		t.Errorf("load: %v", err)
	}
	flag(t, false)
	run(t, r.Router, 0, "rollback")
	_ = c.code()
	if now := rulesetOf(r.Router); !strings.Contains(now, "table inet good") {
		t.Errorf("what was loaded for good is gone: %s", now)
	}
}

// While a load waits nothing else changes the ruleset: it would be undone.
func TestNothingIsLoadedBesideALoadThatWaits(t *testing.T) {
	r := router(t, engine.TC)
	load(t, r)
	run(t, r.Router, 0, "enable", "r0", "r1")
	c := loadConfirm(t, r.Router, time.Hour, "table inet q {\n}\n")
	loaded := rulesetOf(r.Router)
	for _, args := range [][]string{{"enable", "r0"}, {"disable"}, {"withdraw", "--restore", example}, {"load", example}} {
		if said := run(t, r.Router, 10, args...); !strings.Contains(said, "waits for `nft-offload confirm`") {
			t.Errorf("%q: %s", args, said)
		}
	}
	if now := rulesetOf(r.Router); now != loaded {
		t.Errorf("the ruleset is\n%s", now)
	}
	run(t, r.Router, 0, "withdraw") // no ruleset is changed
	run(t, r.Router, 0, "confirm")
	if code := c.code(); code != 0 {
		t.Errorf("code %d: %s", code, c.out)
	}
	run(t, r.Router, 0, "disable")
}

// What nft took and what is different nevertheless is not back: the saved ruleset is kept.
func TestRollbackThatComesBackDifferentCanBeTriedAgain(t *testing.T) {
	r := router(t, engine.TC)
	r.Router.NFTables(others)
	// The order of tables is another one when only one of them is put back again.
	tables := func() string {
		return r.Router.Run("nft", "-s", "list", "table", "ip", "bans") + r.Router.Run("nft", "-s", "list", "table", "inet", "filter")
	}
	before := tables()
	wrapNFT(t, `[ -e $dir/on ] && case "$*" in "-f -") $nft "$@" || exit; exec $nft add rule ip bans c accept;; esac`)
	c := loadConfirm(t, r.Router, time.Second, lockout)
	flag(t, true)
	if code := c.code(); code != 1 || !strings.Contains(c.out.String(), "still different: ip bans; `nft-offload rollback` tries again") {
		t.Errorf("code %d: %s", code, c.out)
	}
	flag(t, false)
	run(t, r.Router, 0, "rollback")
	if now := tables(); now != before || strings.Contains(rulesetOf(r.Router), "mistake") {
		t.Errorf("the ruleset is\n%s", now)
	}
	if files := guardFiles(t, r.Router); len(files) > 0 {
		t.Errorf("left: %q", files)
	}
}
