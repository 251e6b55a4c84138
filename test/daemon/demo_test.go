package daemon_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// demoReport is what `demo --json` promises; a field more or less is a failure.
type demoReport struct {
	Rows []struct {
		Path        string  `json:"path"`
		Family      string  `json:"family"`
		Proto       string  `json:"proto"`
		NsPerPacket float64 `json:"ns_per_packet"`
		Mpps        float64 `json:"mpps"`
		RatioToSlow float64 `json:"ratio_to_slow"`
		FastShare   float64 `json:"fast_share"`
	} `json:"rows"`
	Checks []struct {
		Name   string `json:"name"`
		OK     bool   `json:"ok"`
		Detail string `json:"detail"`
	} `json:"checks"`
}

// demoCommand is the demo as a process of its own; whatever it starts has the variable returned in its environment.
func demoCommand(t *testing.T, args ...string) (cmd *exec.Cmd, variable string) {
	t.Helper()
	variable = fmt.Sprintf("NFT_OFFLOAD_TEST_DEMO=%d %s", os.Getpid(), t.Name())
	cmd = exec.Command(daemon.Binary(t), append([]string{"demo"}, args...)...)
	cmd.Env = append(os.Environ(), variable)
	return cmd, variable
}

// home is the namespace that the demo starts from: to the demo, the machine's own network.
func home(t *testing.T) *testkit.NS {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc)
	n := testkit.NewNS(t, "home")
	n.Script("ip link add r0 type veth peer name r1\nip link set r0 up\nip link set r1 up")
	n.NFTables("table inet mine { chain c { type filter hook forward priority 0; }; }")
	return n
}

// nothingOf checks what a demo that has ended could have left.
func nothingOf(t *testing.T, cmd *exec.Cmd, variable string) {
	t.Helper()
	if left := marked(t, variable); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	pins := fmt.Sprintf("/sys/fs/bpf/nft-offload-bench/%d", cmd.Process.Pid)
	if _, err := os.Stat(pins); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", pins, err)
	}
}

func TestDemoReportsFastPathsAndLeavesNothing(t *testing.T) {
	n := home(t)
	leavesNothing(t, n)
	cmd, variable := demoCommand(t, "--json")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := n.Start(cmd); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Signal(os.Interrupt) })
	defer stuck.Stop()
	if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
		t.Errorf("demo --json: %v: %s", err, stderr.String())
	}
	nothingOf(t, cmd, variable)
	var r demoReport
	d := json.NewDecoder(&stdout)
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	checkDemo(t, r)
}

func checkDemo(t *testing.T, r demoReport) {
	t.Helper()
	seen := map[string]int{}
	for _, row := range r.Rows {
		what := row.Path + " " + row.Family + " " + row.Proto
		seen[what]++
		if row.NsPerPacket <= 0 || math.Abs(row.Mpps*row.NsPerPacket-1000) > 1 {
			t.Errorf("%s: %v ns a packet and %v million packets a second", what, row.NsPerPacket, row.Mpps)
		}
		switch row.Path {
		case "slow":
			if row.RatioToSlow != 1 || row.FastShare != 0 {
				t.Errorf("%s: %+v", what, row)
			}
		case "tc", "xdp":
			if row.RatioToSlow <= 1 || row.FastShare < 0.9 || row.FastShare > 1 {
				t.Errorf("%s: ratio %v, share %v", what, row.RatioToSlow, row.FastShare)
			}
		}
	}
	for _, path := range []string{"slow", "tc", "xdp", "raw-redirect"} {
		for _, family := range []string{"ip", "ip6"} {
			for _, proto := range []string{"tcp", "udp"} {
				if what := path + " " + family + " " + proto; seen[what] != 1 {
					t.Errorf("%d rows of %s, want 1", seen[what], what)
				}
				delete(seen, path+" "+family+" "+proto)
			}
		}
	}
	if len(seen) > 0 {
		t.Errorf("rows that nobody promised: %v", seen)
	}
	names := ""
	for _, c := range r.Checks {
		names += c.Name + "\n"
		if !c.OK || c.Name == "" || c.Detail == "" {
			t.Errorf("check %+v", c)
		}
	}
	for _, want := range []string{"payload", "state after close", "nothing is left"} {
		if !strings.Contains(names, want) {
			t.Errorf("no check of %q among\n%s", want, names)
		}
	}
}

func TestDemoInterruptedFromItsTerminalLeavesNothing(t *testing.T) {
	for _, when := range []string{"building", "a bare redirect", "nft-offload at tc", "real connections at tc"} {
		t.Run(when, func(t *testing.T) {
			n := home(t)
			leavesNothing(t, n)
			terminal, theirs := testkit.OpenTerminal(t)
			cmd, variable := demoCommand(t)
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
			nothingOf(t, cmd, variable)
		})
	}
}
