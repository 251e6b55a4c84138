package daemon_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// lockout drops everything that is forwarded: the mistake that --confirm is for.
const lockout = `flush ruleset
table inet mistake {
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
`

// forms are the loads before the mistake: lowered, plain, and an empty ruleset.
func forms(t *testing.T) map[string]func(*testkit.Router) {
	return map[string]func(*testkit.Router){
		"lowered": func(r *testkit.Router) {
			if out, err := daemon.Command(t, r.Router, "load", "--lower", example); err != nil {
				t.Fatalf("load: %v: %s", err, out)
			}
		},
		"plain": func(r *testkit.Router) {
			r.Router.NFTables("table inet filter {\n counter c { packets 7 bytes 70\n }\n chain forward {\n type filter hook forward priority 0; policy accept\n ct state invalid drop\n }\n}\ntable ip other {\n}\n")
		},
		"nothing": func(*testkit.Router) {},
	}
}

func TestRulesetThatNobodyConfirmsIsRolledBack(t *testing.T) {
	for name, prepare := range forms(t) {
		for _, flags := range [][]string{nil, {"--lower"}} {
			t.Run(fmt.Sprint(name, flags), func(t *testing.T) {
				r := router(t, engine.TC)
				prepare(r)
				leavesNothing(t, r.Router)
				before := rulesetOf(r.Router)
				began := time.Now()
				c := loadConfirm(t, r.Router, 2*time.Second, lockout, flags...)
				if now := rulesetOf(r.Router); now == before || !strings.Contains(now, "table inet mistake") {
					t.Errorf("the ruleset is not the new one: %s", now)
				}
				if code := c.code(); code != 9 || !strings.Contains(c.out.String(), "nobody confirmed it within 2s") {
					t.Errorf("code %d: %s", code, c.out)
				}
				if took := time.Since(began); took < 2*time.Second {
					t.Errorf("rolled back after %v", took)
				}
				awaitRuleset(t, r.Router, before, 5*time.Second)
				if out, err := daemon.Command(t, r.Router, "confirm"); daemon.ExitCode(err) != 9 {
					t.Errorf("confirm: %v: %s", err, out)
				}
				if files := guardFiles(t, r.Router); len(files) > 0 {
					t.Errorf("left: %q", files)
				}
			})
		}
	}
}

func TestConfirmKeepsTheRuleset(t *testing.T) {
	r := router(t, engine.TC)
	c := loadConfirm(t, r.Router, 3*time.Second, lockout)
	loaded := rulesetOf(r.Router)
	if out, err := daemon.Command(t, r.Router, "confirm"); err != nil || !strings.Contains(out, "confirmed: the ruleset of") {
		t.Errorf("confirm: %v: %s", err, out)
	}
	if code := c.code(); code != 0 || !strings.Contains(c.out.String(), "confirmed: the ruleset of") {
		t.Errorf("code %d: %s", code, c.out)
	}
	stays(t, r.Router, loaded, 4*time.Second)
	if files := guardFiles(t, r.Router); len(files) > 0 {
		t.Errorf("left: %q", files)
	}
}

// stays watches a ruleset past the time at which it would have been rolled back.
func stays(t *testing.T, ns *testkit.NS, want string, period time.Duration) {
	t.Helper()
	until := time.Now().Add(period)
	testkit.MustAwait(t, 2*period, func() error {
		if now := rulesetOf(ns); now != want {
			t.Fatalf("the ruleset became\n%s", now)
		}
		if left := time.Until(until); left > 0 {
			return fmt.Errorf("%v left", left)
		}
		return nil
	})
}

// Whatever ends the command that a person sees, the ruleset comes back in time.
func TestRollbackSurvivesTheCommand(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"kill -9": unix.SIGKILL, "hangup": unix.SIGHUP} {
		t.Run(name, func(t *testing.T) {
			r := router(t, engine.TC)
			load(t, r)
			before := rulesetOf(r.Router)
			// Long enough for the commands up to the look at status, on a busy machine.
			c := loadConfirm(t, r.Router, 6*time.Second, lockout)
			began := time.Now()
			if err := c.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if code := c.code(); code != -1 {
				t.Errorf("code %d: %s", code, c.out)
			}
			out, _ := daemon.Command(t, r.Router, "status")
			if !strings.Contains(out, "waits for `nft-offload confirm`") {
				t.Errorf("the next command does not say that a load waits: %s", out)
			}
			awaitRuleset(t, r.Router, before, 15*time.Second)
			if took := time.Since(began); took < 3*time.Second {
				t.Errorf("rolled back after %v", took)
			}
			out, _ = daemon.Command(t, r.Router, "status")
			if !strings.Contains(out, "was rolled back at") {
				t.Errorf("the next command does not say what happened: %s", out)
			}
		})
	}
}

// Who lost the session can still confirm from another one.
func TestConfirmAfterTheCommandWasKilled(t *testing.T) {
	r := router(t, engine.TC)
	c := loadConfirm(t, r.Router, 5*time.Second, lockout)
	loaded := rulesetOf(r.Router)
	_ = c.Process.Kill()
	_ = c.code()
	if out, err := daemon.Command(t, r.Router, "confirm"); err != nil {
		t.Errorf("confirm: %v: %s", err, out)
	}
	stays(t, r.Router, loaded, 6*time.Second)
}

func TestKilledGuardIsReplaced(t *testing.T) {
	r := router(t, engine.TC)
	load(t, r)
	before := rulesetOf(r.Router)
	began := time.Now()
	c := loadConfirm(t, r.Router, 4*time.Second, lockout)
	for range 2 {
		pid := guardOf(t, r.Router)
		if pid == 0 || pid == c.Process.Pid {
			t.Fatalf("guard %d, command %d", pid, c.Process.Pid)
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		testkit.MustAwait(t, 5*time.Second, func() error {
			if now := guardOf(t, r.Router); now == 0 || now == pid || now == c.Process.Pid {
				return fmt.Errorf("guard %d after %d", now, pid)
			}
			return nil
		})
	}
	if code := c.code(); code != 9 {
		t.Errorf("code %d: %s", code, c.out)
	}
	if took := time.Since(began); took < 4*time.Second || took > 9*time.Second {
		t.Errorf("rolled back after %v", took)
	}
	awaitRuleset(t, r.Router, before, 5*time.Second)
}

// Both killed: nobody rolls back, but the ruleset is kept, and the next command says so.
func TestWhatNobodyGuardsIsSaidAndCanBeDecided(t *testing.T) {
	for _, word := range []string{"confirm", "rollback"} {
		t.Run(word, func(t *testing.T) {
			r := router(t, engine.TC)
			load(t, r)
			before := rulesetOf(r.Router)
			c := loadConfirm(t, r.Router, 3*time.Second, lockout)
			loaded := rulesetOf(r.Router)
			pid := guardOf(t, r.Router)
			_ = c.Process.Kill()
			_ = c.code()
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			testkit.MustAwait(t, 5*time.Second, func() error {
				if out, _ := daemon.Command(t, r.Router, "status"); !strings.Contains(out, "the process that would have rolled it back is gone") {
					return fmt.Errorf("status says: %s", out)
				}
				return nil
			})
			if out, err := daemon.Command(t, r.Router, "load", example); daemon.ExitCode(err) != 10 {
				t.Errorf("load: %v: %s", err, out)
			}
			if out, err := daemon.Command(t, r.Router, "load", "--confirm", "5s", example); daemon.ExitCode(err) != 10 {
				t.Errorf("load --confirm: %v: %s", err, out)
			}
			if out, err := daemon.Command(t, r.Router, word); err != nil {
				t.Errorf("%s: %v: %s", word, err, out)
			}
			want := loaded
			if word == "rollback" {
				want = before
			}
			decided(t, r.Router, want)
		})
	}
}

func TestInterruptedLoadIsRolledBackAtOnce(t *testing.T) {
	r := router(t, engine.TC)
	load(t, r)
	before := rulesetOf(r.Router)
	c := loadConfirm(t, r.Router, time.Hour, lockout)
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := c.code(); code != 9 || !strings.Contains(c.out.String(), "somebody asked for it") {
		t.Errorf("code %d: %s", code, c.out)
	}
	awaitRuleset(t, r.Router, before, 5*time.Second)
}

// What ends all processes of the machine, as a shutdown does, rolls back first.
func TestGuardThatIsToldToEndRollsBack(t *testing.T) {
	r := router(t, engine.TC)
	load(t, r)
	before := rulesetOf(r.Router)
	c := loadConfirm(t, r.Router, time.Hour, lockout)
	if err := unix.Kill(guardOf(t, r.Router), unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := c.code(); code != 9 || !strings.Contains(c.out.String(), "was told to end") {
		t.Errorf("code %d: %s", code, c.out)
	}
	awaitRuleset(t, r.Router, before, 5*time.Second)
}

// terminal is a pseudo-terminal: the end that a person has.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Close() })
	fd := int(person.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

// session is a load with --confirm in a session of its own on a terminal.
func session(t *testing.T, ns *testkit.NS, limit time.Duration) (*confirming, *os.File) {
	t.Helper()
	person, program := terminal(t)
	c := &confirming{t: t, ns: ns, out: &bytes.Buffer{}}
	c.Cmd = exec.Command(daemon.Binary(t), "load", "--confirm", limit.String(), write(t, "new.nft", lockout))
	c.Stdin, c.Stdout = program, program
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	c.start(person)
	_ = program.Close()
	return c, person
}

func TestEnterOnATerminalConfirms(t *testing.T) {
	r := router(t, engine.TC)
	c, person := session(t, r.Router, 10*time.Second)
	loaded := rulesetOf(r.Router)
	if _, err := person.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	if code := daemon.ExitCode(c.Wait()); code != 0 {
		t.Errorf("code %d: %s", code, c.out)
	}
	decided(t, r.Router, loaded)
}

// The end of a terminal is what a lost connection looks like: it hangs up, and what was waiting for enter reads an end.
func TestLostTerminalDoesNotConfirm(t *testing.T) {
	r := router(t, engine.TC)
	load(t, r)
	before := rulesetOf(r.Router)
	c, person := session(t, r.Router, 3*time.Second)
	began := time.Now()
	if err := person.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil {
		t.Error("load survived its terminal")
	}
	awaitRuleset(t, r.Router, before, 10*time.Second)
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("rolled back after %v", took)
	}
}

// TestRollbackUnderTraffic: what a mistake cuts off goes on where it was, and is fast again, with the daemon running on.
func TestRollbackUnderTraffic(t *testing.T) {
	r, d := start(t)
	udp := forwarded(t, r, d)
	tcp, err := testkit.ConnectTCP(t, r.Path(false, 5001), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := tcp.Exchange(50_000, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	udp.Start(500)
	c := loadConfirm(t, r.Router, 2*time.Second, lockout)
	cut := udp.Stats().Up.Last
	testkit.MustAwait(t, 2*time.Second, func() error {
		if quiet := time.Since(udp.Stats().Up.Last); quiet < 500*time.Millisecond {
			return fmt.Errorf("the last packet came %v ago", quiet)
		}
		return nil
	})
	if code := c.code(); code != 9 {
		t.Errorf("code %d: %s", code, c.out)
	}
	fast := d.Status().Stats.FastPackets().Packets
	testkit.MustAwait(t, 10*time.Second, func() error {
		if n := d.Status().Stats.FastPackets().Packets - fast; n < 200 || !udp.Stats().Up.Last.After(cut) {
			return fmt.Errorf("%d packets were fast after the rollback", n)
		}
		return nil
	})
	udp.Stop(time.Second)
	if err := tcp.Exchange(50_000, 10*time.Second); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
	if len(d.Status().Flowtables) != 1 {
		t.Errorf("flowtables %+v", d.Status().Flowtables)
	}
}

// What others changed meanwhile in tables of their own is theirs.
func TestRollbackLeavesTheTablesOfOthersAlone(t *testing.T) {
	r := router(t, engine.TC)
	r.Router.NFTables("table inet mine {\n chain c {\n accept\n }\n}\ntable ip docker {\n counter c { packets 5 bytes 50\n }\n}\n")
	c := loadConfirm(t, r.Router, time.Hour, "delete table inet mine\ntable inet mine {\n chain c {\n drop\n }\n}\n")
	handles := func() string { return r.Router.Run("nft", "-a", "list", "table", "ip", "docker") }
	docker := handles()
	out, err := daemon.Command(t, r.Router, "rollback")
	if said := strings.Join(strings.Fields(out), " "); err != nil || !strings.Contains(said, "put back inet mine") || strings.Contains(said, "docker") {
		t.Errorf("rollback: %v: %s", err, out)
	}
	if code := c.code(); code != 9 {
		t.Errorf("code %d: %s", code, c.out)
	}
	if now := handles(); now != docker {
		t.Errorf("it was\n%s\nand is\n%s", docker, now)
	}
	if !strings.Contains(rulesetOf(r.Router), "accept") {
		t.Errorf("the ruleset is\n%s", rulesetOf(r.Router))
	}
}

// Of many that load at once, one waits; the others are told so and change nothing.
func TestOnlyOneLoadWaits(t *testing.T) {
	r := router(t, engine.TC)
	c := loadConfirm(t, r.Router, time.Hour, lockout)
	loaded := rulesetOf(r.Router)
	codes := make(chan int)
	for range 6 {
		go func() {
			_, err := daemon.Command(t, r.Router, "load", "--confirm", "5s", "--no-wait", example)
			codes <- daemon.ExitCode(err)
		}()
	}
	var got []int
	for range 6 {
		got = append(got, <-codes)
	}
	if slices.Max(got) != 10 || slices.Min(got) != 10 {
		t.Errorf("exit codes %v, want 10", got)
	}
	if now := rulesetOf(r.Router); now != loaded {
		t.Errorf("the ruleset is\n%s", now)
	}
	if out, err := daemon.Command(t, r.Router, "confirm"); err != nil {
		t.Errorf("confirm: %v: %s", err, out)
	}
	if code := c.code(); code != 0 {
		t.Errorf("code %d: %s", code, c.out)
	}
}

// Killed at any moment, load leaves the ruleset from before or, when it waits, brings it back.
func TestLoadKilledAtAnyMomentNeverLosesTheRuleset(t *testing.T) {
	r := router(t, engine.TC)
	load(t, r)
	before := rulesetOf(r.Router)
	file := write(t, "new.nft", lockout)
	t.Cleanup(func() { _, _ = daemon.Command(t, r.Router, "confirm") }) // takes note
	for i := range 20 {
		cmd := exec.Command(daemon.Binary(t), "load", "--confirm", "1s", file)
		if err := r.Router.Start(cmd); err != nil {
			t.Fatal(err)
		}
		after := time.Duration(i) * 15 * time.Millisecond
		timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
		testkit.MustAwait(t, 15*time.Second, func() error {
			if pid := guardOf(t, r.Router); pid != 0 && unix.Kill(pid, 0) == nil {
				return fmt.Errorf("process %d still guards", pid)
			}
			return nil
		})
		if now := rulesetOf(r.Router); now != before {
			t.Fatalf("killed after %v: the ruleset is\n%s", after, now)
		}
		// What a killed load left is no obstacle.
		if out, err := daemon.Command(t, r.Router, "rollback"); err != nil && daemon.ExitCode(err) != 11 {
			t.Fatalf("killed after %v: rollback: %v: %s", after, err, out)
		}
	}
}

// A record is named by the namespace's inode; another namespace that gets the same one must not be rolled back to it.
func TestRecordOfANamespaceThatIsGoneMeansNothing(t *testing.T) {
	r, other := router(t, engine.TC), testkit.NewNS(t, "other")
	c := loadConfirm(t, r.Router, time.Hour, lockout)
	var record, name string
	for _, f := range guardFiles(t, r.Router) {
		if strings.HasSuffix(f, ".load") {
			record = f
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(other.Fd(), &st); err != nil {
		t.Fatal(err)
	}
	name = fmt.Sprintf("/run/nft-offload/%d.load", st.Ino)
	text, err := os.ReadFile(record)
	if err == nil {
		err = os.WriteFile(name, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(name) })
	for _, word := range []string{"rollback", "confirm"} {
		if out, err := daemon.Command(t, other, word); daemon.ExitCode(err) != 11 {
			t.Errorf("%s: %v: %s", word, err, out)
		}
	}
	if out, _ := daemon.Command(t, other, "status"); strings.Contains(out, "note:") {
		t.Errorf("status: %s", out)
	}
	if out, err := daemon.Command(t, r.Router, "rollback"); err != nil {
		t.Errorf("rollback: %v: %s", err, out)
	}
	_ = c.code()
}
