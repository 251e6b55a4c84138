package daemon_test

import (
	"encoding/json"
	"errors"
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

// loadFile is where a load with --confirm is kept for a namespace.
func loadFile(t *testing.T, ns *testkit.NS) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(ns.Fd(), &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("/run/nft-offload/%d.load", st.Ino)
}

// With --no-wait nobody replaces a guard: one that was killed before it said that it watches must not go unnoticed.
func TestNoWaitWithoutAGuardIsRolledBackAtOnce(t *testing.T) {
	for when, pattern := range map[string]string{"while it loads": "*-I*-f*", "before": "*-c*-I*-f*"} {
		t.Run(when, func(t *testing.T) {
			r := router(t, engine.TC)
			r.Router.NFTables(others)
			before := rulesetOf(r.Router)
			script := fmt.Sprintf(`[ -e $dir/on ] && case "$*" in %s) rm $dir/on; kill -9 $(cat %s.lock);; esac`, pattern, loadFile(t, r.Router))
			if when == "while it loads" {
				script = strings.Replace(script, "in ", "in *-c*) ;; ", 1)
			}
			wrapNFT(t, script)
			flag(t, true)
			code, want := 9, "was rolled back: the process that guards it was killed"
			if when == "before" {
				code, want = 1, "load ruleset: the process that guards the load was killed"
			}
			if said := run(t, r.Router, code, "load", "--confirm", "1h", "--no-wait", write(t, "new.nft", lockout)); !strings.Contains(said, want) {
				t.Errorf("load: %s", said)
			}
			if now := rulesetOf(r.Router); now != before {
				t.Errorf("the ruleset is\n%s", now)
			}
			if when == "before" {
				run(t, r.Router, 11, "confirm")
			} else {
				run(t, r.Router, 9, "confirm")
			}
			if files := guardFiles(t, r.Router); len(files) > 0 {
				t.Errorf("left: %q", files)
			}
		})
	}
}

func TestGuardIsSparedWhenMemoryIsShort(t *testing.T) {
	r := router(t, engine.TC)
	c := loadConfirm(t, r.Router, time.Hour, "table inet q {\n}\n")
	// A machine that does not allow it (no CAP_SYS_RESOURCE) must not keep the guard from its work.
	want := r.Router.Run("sh", "-c", "echo -1000 2>/dev/null >/proc/self/oom_score_adj; cat /proc/self/oom_score_adj")
	score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", guardOf(t, r.Router)))
	if err != nil || string(score) != want {
		t.Errorf("oom_score_adj %q, want %q: %v", score, want, err)
	}
	run(t, r.Router, 0, "confirm")
	_ = c.code()
}

// A rollback that nobody watches and that fails is in the log of the kernel.
func TestFailedRollbackThatNobodyWatchesIsLogged(t *testing.T) {
	r := router(t, engine.TC)
	wrapNFT(t, `[ -e $dir/on ] && case "$*" in *-f*) echo "Error: no memory" >&2; exit 1;; esac`)
	log := write(t, "kmsg", "")
	// A mount namespace of its own, in which the log is a file.
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount --bind "$0" /dev/kmsg && exec "$@"`, log,
		daemon.Binary(t), "load", "--confirm", "1s", "--no-wait", write(t, "new.nft", "table inet q {\n}\n"))
	out, err := []byte(nil), error(nil)
	if doErr := r.Router.Do(func() error { out, err = cmd.CombinedOutput(); return nil }); errors.Join(doErr, err) != nil {
		t.Fatalf("load: %v: %s", err, out)
	}
	flag(t, true)
	testkit.MustAwait(t, 15*time.Second, func() error {
		text, err := os.ReadFile(log)
		if err != nil || !strings.HasPrefix(string(text), "<3>nft-offload: the ruleset before ") || !strings.Contains(string(text), "no memory") {
			return fmt.Errorf("the log has %q: %w", text, err)
		}
		return nil
	})
	flag(t, false)
	run(t, r.Router, 0, "rollback")
}

// What a person said to a guard that was killed in that moment is said to the next one.
func TestEnterInTheMomentInWhichTheGuardIsKilledConfirms(t *testing.T) {
	r := router(t, engine.TC)
	c, person := session(t, r.Router, time.Hour)
	loaded := rulesetOf(r.Router)
	guard := guardOf(t, r.Router)
	if err := unix.Kill(guard, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	testkit.MustAwait(t, 5*time.Second, func() error { return stopped(guard) })
	if _, err := person.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	testkit.MustAwait(t, 5*time.Second, func() error { return heard(guard) })
	if err := unix.Kill(guard, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ended := make(chan int, 1)
	go func() { ended <- daemon.ExitCode(c.Wait()) }()
	select {
	case code := <-ended:
		if code != 0 {
			t.Errorf("code %d: %s", code, c.out)
		}
	case <-time.After(20 * time.Second):
		t.Error("the word of the user is lost")
	}
	if now := rulesetOf(r.Router); now != loaded {
		t.Errorf("the ruleset is\n%s", now)
	}
}

// stopped says whether all threads of a process stand still.
func stopped(pid int) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return err
	}
	for _, thread := range threads {
		b, err := os.ReadFile(thread)
		if err != nil {
			return err
		}
		if _, state, _ := strings.Cut(string(b), ") "); !strings.HasPrefix(state, "T") {
			return fmt.Errorf("a thread of process %d runs: %s", pid, b)
		}
	}
	return nil
}

// heard says whether something is to be read on the connection of a guard with its load (descriptor 4).
func heard(pid int) error {
	p, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(p) //nolint:errcheck // nothing was written
	fd, err := unix.PidfdGetfd(p, 4, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err == nil && n == 0 {
		err = errors.New("nothing was said")
	}
	return err
}

// Between two guards there is nobody to ask; who asks waits for the next one.
func TestConfirmWhileTheGuardIsReplaced(t *testing.T) {
	r := router(t, engine.TC)
	c := loadConfirm(t, r.Router, time.Hour, lockout)
	loaded := rulesetOf(r.Router)
	if err := errors.Join(unix.Kill(c.Process.Pid, unix.SIGSTOP), unix.Kill(guardOf(t, r.Router), unix.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	said := make(chan error, 1)
	go func() {
		_, err := daemon.Command(t, r.Router, "confirm")
		said <- err
	}()
	stays(t, r.Router, loaded, time.Second)
	if err := c.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := <-said; err != nil {
		t.Fatalf("confirm: %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("confirm took %v", took)
	}
	if code := c.code(); code != 0 {
		t.Errorf("code %d: %s", code, c.out)
	}
}

// An nft that takes longer than the time to confirm ends with the load that started it.
func TestKilledLoadLoadsNothingAfterTheRollback(t *testing.T) {
	r := router(t, engine.TC)
	r.Router.NFTables(others)
	before := rulesetOf(r.Router)
	wrapNFT(t, `[ -e $dir/on ] && case "$*" in *-c*) ;; *-I*-f*) rm $dir/on; sleep 3;; esac`)
	flag(t, true)
	cmd := exec.Command(daemon.Binary(t), "load", "--confirm", "1s", write(t, "new.nft", lockout))
	if err := r.Router.Start(cmd); err != nil {
		t.Fatal(err)
	}
	dir, _, _ := strings.Cut(os.Getenv("PATH"), ":")
	testkit.MustAwait(t, 10*time.Second, func() error {
		if _, err := os.Stat(filepath.Join(dir, "on")); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("nft does not load yet: %w", err)
		}
		return nil
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	stays(t, r.Router, before, 5*time.Second)
	_, _ = daemon.Command(t, r.Router, "confirm") // takes note
}

// Records of loads do not pile up with namespaces that come and go.
func TestWithdrawForgetsLoadsOfNamespacesThatAreGone(t *testing.T) {
	r, gone := router(t, engine.TC), testkit.NewNS(t, "gone")
	run(t, gone, 9, "load", "--confirm", "1s", write(t, "new.nft", lockout))
	record := loadFile(t, gone)
	if _, err := os.Stat(record); err != nil {
		t.Fatal(err)
	}
	run(t, r.Router, 0, "withdraw")
	if _, err := os.Stat(record); err != nil {
		t.Errorf("of a namespace that is there: %v", err)
	}
	if err := gone.Remove(); err != nil {
		t.Fatal(err)
	}
	testkit.MustAwait(t, 10*time.Second, func() error {
		out, err := daemon.Command(t, r.Router, "withdraw")
		if _, there := os.Stat(record); err != nil || there == nil {
			return fmt.Errorf("%s is left: %w: %s", record, err, out)
		}
		return nil
	})
}

// Where /run outlives the machine's boot, the first namespace has its number and its cookie again.
func TestRecordOfAnEarlierBootMeansNothing(t *testing.T) {
	r := router(t, engine.TC)
	run(t, r.Router, 9, "load", "--confirm", "1s", write(t, "new.nft", lockout))
	file := loadFile(t, r.Router)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	if err := json.Unmarshal(text, &record); err != nil {
		t.Fatal(err)
	}
	record["boot"], record["state"] = "00000000-0000-0000-0000-000000000000", "waiting"
	if text, err = json.Marshal(record); err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	run(t, r.Router, 11, "rollback")
	run(t, r.Router, 11, "confirm")
	run(t, r.Router, 0, "withdraw")
	if files := guardFiles(t, r.Router); len(files) > 0 {
		t.Errorf("left: %q", files)
	}
}
