package daemon_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// rulesDemoReport is what `demo --rules --json` promises; a field more or less is a failure.
type rulesDemoReport struct {
	Prefixes int `json:"prefixes"`
	Rows     []struct {
		Path        string  `json:"path"`
		Traffic     string  `json:"traffic"`
		NsPerPacket float64 `json:"ns_per_packet"`
		Mpps        float64 `json:"mpps"`
		RatioToNFT  float64 `json:"ratio_to_nft"`
		DroppedAt   float64 `json:"dropped_at_xdp"`
		Arrived     float64 `json:"arrived"`
	} `json:"rows"`
	Changes []struct {
		Command   string  `json:"command"`
		CommandMs float64 `json:"command_ms"`
		EffectMs  float64 `json:"effect_ms"`
		ProgramMs float64 `json:"program_ms"`
	} `json:"changes"`
	Checks []struct {
		Name   string `json:"name"`
		OK     bool   `json:"ok"`
		Detail string `json:"detail"`
	} `json:"checks"`
}

func TestRulesDemoDropsABlocklistAtXDPAndFollowsNft(t *testing.T) {
	n := home(t)
	leavesNothing(t, n)
	cmd, variable := demoCommand(t, "--rules", "--json")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := n.Start(cmd); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Signal(os.Interrupt) })
	defer stuck.Stop()
	if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
		t.Errorf("demo --rules --json: %v: %s", err, stderr.String())
	}
	nothingOf(t, cmd, variable)
	var r rulesDemoReport
	d := json.NewDecoder(&stdout)
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	checkRulesDemo(t, r)
}

func checkRulesDemo(t *testing.T, r rulesDemoReport) {
	t.Helper()
	if r.Prefixes != 100_000 || len(r.Rows) != 4 || len(r.Changes) < 2 {
		t.Errorf("%+v", r)
	}
	for i, row := range r.Rows {
		path := []string{"nft-ingress", "nft-ingress", "xdp", "xdp"}[i]
		traffic := []string{"blocked", "other"}[i%2]
		if row.Path != path || row.Traffic != traffic || row.NsPerPacket <= 0 || math.Abs(row.Mpps*row.NsPerPacket-1000) > 1 {
			t.Errorf("%+v", row)
		}
		if blocked := traffic == "blocked"; (row.Arrived == 0) != blocked || (row.DroppedAt == 1) != (blocked && path == "xdp") {
			t.Errorf("%+v", row)
		}
		if path == "nft-ingress" && row.RatioToNFT != 1 || traffic == "blocked" && path == "xdp" && row.RatioToNFT <= 1 {
			t.Errorf("%+v", row)
		}
	}
	for _, c := range r.Changes {
		if c.CommandMs <= 0 || c.EffectMs < 0 || !strings.Contains(c.Command, "element netdev") {
			t.Errorf("%+v", c)
		}
	}
	names := ""
	for _, c := range r.Checks {
		names += c.Name + "\n"
		if !c.OK || c.Name == "" || c.Detail == "" {
			t.Errorf("check %+v", c)
		}
	}
	for _, want := range []string{"blocked traffic", "other traffic", "same packets arrive", "nft adds has its effect", "nft deletes has its effect", "nothing is left"} {
		if !strings.Contains(names, want) {
			t.Errorf("no check of %q among\n%s", want, names)
		}
	}
}

func TestRulesDemoInterruptedFromItsTerminalLeavesNothing(t *testing.T) {
	for _, when := range []string{"nft loads", "starting nft-offload", "nft adds"} {
		t.Run(when, func(t *testing.T) {
			n := home(t)
			leavesNothing(t, n)
			terminal, theirs := testkit.OpenTerminal(t)
			cmd, variable := demoCommand(t, "--rules")
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
				t.Errorf("demo --rules: %v: %q", err, seen)
			}
			nothingOf(t, cmd, variable)
		})
	}
}
