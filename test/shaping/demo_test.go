package shaping

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// shapedReport is what `demo --shaped --json` promises; a field more or less is a failure.
type shapedReport struct {
	Limit int `json:"limit_bits_per_second"`
	Paths []struct {
		Path    string `json:"path"`
		Classes []struct {
			Class         string  `json:"class"`
			BitsPerSecond float64 `json:"bits_per_second"`
			Idle          waiting `json:"idle"`
			Loaded        waiting `json:"loaded"`
		} `json:"classes"`
		BitsPerSecond float64 `json:"bits_per_second"`
		FastShare     float64 `json:"fast_share"`
		NsPerPacket   float64 `json:"ns_per_packet"`
	} `json:"paths"`
	Checks []struct {
		Name   string `json:"name"`
		OK     bool   `json:"ok"`
		Detail string `json:"detail"`
	} `json:"checks"`
}

type waiting struct {
	Median float64 `json:"median_us"`
	P99    float64 `json:"p99_us"`
}

// home is the namespace that the demo starts from; it must be left as it is, and so must bpffs.
func home(t *testing.T) *testkit.NS {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc)
	n := testkit.NewNS(t, "home")
	n.Run("ip", "link", "add", "r0", "type", "veth", "peer", "name", "r1")
	n.NFTables("table inet mine { chain c { type filter hook forward priority 0; }; }")
	testkit.CheckRestored(t, 10*time.Second, testkit.SnapshotOptions{BPF: func(string) bool { return false }}, n)
	return n
}

// noPins checks that the demo, which has ended, left none.
func noPins(t *testing.T, demo *exec.Cmd) {
	t.Helper()
	pins := fmt.Sprintf("/sys/fs/bpf/nft-offload-bench/%d", demo.Process.Pid)
	if _, err := os.Stat(pins); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", pins, err)
	}
}

func TestShapedDemoKeepsRateAndClasses(t *testing.T) {
	n := home(t)
	cmd := exec.Command(daemon.Binary(t), "demo", "--shaped", "--json")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := n.Start(cmd); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Signal(os.Interrupt) })
	defer stuck.Stop()
	if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
		t.Errorf("demo --shaped --json: %v: %s", err, stderr.String())
	}
	noPins(t, cmd)
	var r shapedReport
	d := json.NewDecoder(&stdout)
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	checkShapedDemo(t, r)
}

func checkShapedDemo(t *testing.T, r shapedReport) {
	t.Helper()
	if r.Limit != 100_000_000 || len(r.Paths) != 2 || r.Paths[0].Path != "slow" || r.Paths[1].Path != "tc" {
		t.Fatalf("%+v", r)
	}
	for _, p := range r.Paths {
		// A busy machine is late for the shaper's timers, on either path.
		if p.BitsPerSecond < 0.5*float64(r.Limit) || p.BitsPerSecond > 1.05*float64(r.Limit) || p.NsPerPacket <= 0 {
			t.Errorf("%s: %+v", p.Path, p)
		}
		if len(p.Classes) != 2 || p.Classes[0].Class != "interactive" || p.Classes[1].Class != "bulk" {
			t.Fatalf("%s: %+v", p.Path, p.Classes)
		}
		for _, c := range p.Classes {
			if c.BitsPerSecond <= 0 || c.Idle.Median <= 0 || c.Idle.P99 < c.Idle.Median || c.Loaded.Median <= 0 || c.Loaded.P99 < c.Loaded.Median {
				t.Errorf("%s: %+v", p.Path, c)
			}
		}
	}
	if slow, fast := r.Paths[0].FastShare, r.Paths[1].FastShare; slow != 0 || fast < minShare || fast > 1 {
		t.Errorf("shares of fast packets: %v slow, %v at tc", slow, fast)
	}
	if slow, fast := r.Paths[0].NsPerPacket, r.Paths[1].NsPerPacket; fast >= slow {
		t.Errorf("a packet takes %v ns slow and %v ns at tc", slow, fast)
	}
	names := ""
	for _, c := range r.Checks {
		names += c.Name + "\n"
		if !c.OK || c.Name == "" || c.Detail == "" {
			t.Errorf("check %+v", c)
		}
	}
	for _, want := range []string{"slow: rate", "tc: rate", "slow: classes", "tc: classes", "tc: payload", "xdp: what leaves by the shaper stays at tc", "nothing is left", "the shaper is left"} {
		if !strings.Contains(names, want) {
			t.Errorf("no check of %q among\n%s", want, names)
		}
	}
}

func TestShapedDemoInterruptedFromItsTerminalLeavesNothing(t *testing.T) {
	for _, when := range []string{"building", "slow: two thin flows beside", "tc: two thin flows beside"} {
		t.Run(when, func(t *testing.T) {
			n := home(t)
			terminal, theirs := testkit.OpenTerminal(t)
			cmd := exec.Command(daemon.Binary(t), "demo", "--shaped")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := n.Start(cmd); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			_ = theirs.Close()
			seen := testkit.InterruptAt(t, terminal, when, time.Minute)
			err := cmd.Wait()
			if daemon.ExitCode(err) != 1 || !strings.HasSuffix(strings.TrimSpace(seen), "nft-offload: interrupted; nothing is left behind") {
				t.Errorf("demo: %v: %q", err, seen)
			}
			noPins(t, cmd)
			if left := session(t, cmd.Process.Pid); len(left) > 0 {
				t.Errorf("processes are left: %v", left)
			}
		})
	}
}

// session lists the processes of a session: all that its leader has started, and what those have.
func session(t *testing.T, leader int) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // gone meanwhile
		}
		// Behind the name in parentheses: state, parent, process group, session (proc_pid_stat(5)).
		if f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])); len(f) > 3 && f[3] == strconv.Itoa(leader) {
			found = append(found, string(b))
		}
	}
	return found
}
