package daemon_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

const example = "../../examples/router.nft"

// commandLine runs the program with arguments given in one string.
func commandLine(t *testing.T, args string) *exec.Cmd {
	t.Helper()
	return exec.Command(daemon.Binary(t), strings.Fields(args)...)
}

// loaded is a router with a ruleset of its own, and with what has to stay as it is from here on.
func loaded(t *testing.T) *testkit.Router {
	t.Helper()
	r := router(t, engine.TC)
	load(t, r)
	leavesNothing(t, r.Router)
	return r
}

func TestWithoutBTFWhatNeedsItIsRefused(t *testing.T) {
	r := loaded(t)
	for _, args := range []string{"run", "run --device r0=xdp", "demo", "demo --json", "bench flows --quick"} {
		t.Run(args, func(t *testing.T) {
			// A mount namespace of its own, in which the kernel's BTF is covered.
			cmd := exec.Command("unshare", append([]string{
				"--mount", "sh", "-c", `mount -t tmpfs none /sys/kernel/btf && exec "$@"`, "sh", daemon.Binary(t),
			}, strings.Fields(args)...)...)
			outcome(t, r.Router, cmd).refused(t, 4, "the kernel has no BTF", "/sys/kernel/btf/vmlinux", "boot one that has it")
		})
	}
}

func TestWithoutNFTWhatNeedsItIsRefused(t *testing.T) {
	r := loaded(t)
	for _, args := range []string{
		"run", "load " + example, "load --lower --json " + example, "load --confirm 5s " + example, "enable r0 r1", "disable", "demo", "bench flows --quick",
	} {
		t.Run(args, func(t *testing.T) {
			cmd := commandLine(t, args)
			cmd.Env = append(os.Environ(), "PATH="+t.TempDir())
			outcome(t, r.Router, cmd).refused(t, 4, "nft(8) is not installed", "package nftables")
		})
	}
}

func TestNamespaceThatDoesNotExistIsRefusedByEveryCommand(t *testing.T) {
	r := loaded(t)
	notOne := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notOne, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"run", "load " + example, "load --confirm 5s " + example, "confirm", "rollback", "enable r0 r1", "disable", "withdraw", "status", "status --json",
		"flows", "flows --refused", "flows flush --all", "flows hold --all", "flows release", "demo", "bench flows",
	} {
		for _, name := range []string{"no-such-namespace", "/run/netns/no-such-namespace", notOne} {
			t.Run(args+" "+filepath.Base(name), func(t *testing.T) {
				outcome(t, r.Router, commandLine(t, "--netns "+name+" "+args)).refused(t, 2, name, "enter network namespace", "see `ip netns list`")
			})
		}
	}
}

func TestDeviceThatDoesNotExistIsRefused(t *testing.T) {
	r := loaded(t)
	for args, device := range map[string]string{
		"run --device r7=xdp":               "r7",
		"run --device r0=tc --device r7=tc": "r7",
		"enable r0 r7":                      "r7",
		"enable --lower --json r7":          "r7",
		"enable r0 r1;x":                    "r1;x",
	} {
		t.Run(args, func(t *testing.T) {
			outcome(t, r.Router, commandLine(t, args)).refused(t, 8, device, "see `ip link`")
		})
	}
}

func TestLoadSaysWhichDevicesDoNotExist(t *testing.T) {
	r := router(t, engine.TC)
	file := write(t, "missing.nft", `table inet t {
	flowtable f { hook ingress priority 0; devices = { r0, r7, r1, r8 }; }
	chain forward {
		type filter hook forward priority 0;
		meta l4proto tcp ct state established flow add @f
	}
}
`)
	s := outcome(t, r.Router, commandLine(t, "load --lower "+file))
	if s.code != 0 || s.stderr != "" {
		t.Errorf("load: code %d: %s", s.code, s.stderr)
	}
	for _, want := range []string{"flowtable inet t f: r0, r1\n", "taken up when they appear: r7, r8\n"} {
		if !strings.Contains(s.stdout, want) {
			t.Errorf("load does not say %q: %s", want, s.stdout)
		}
	}
}

func TestBrokenRulesetIsRefusedAndTheLiveOneStays(t *testing.T) {
	r := loaded(t)
	before := r.Router.Run("nft", "list", "ruleset")
	for name, c := range map[string]struct{ file, text, place string }{
		"syntax":          {"syntax.nft", "flush ruleset\ntable inet t {\n\tchain c { frobnicate; }\n}\n", "syntax.nft:3:"},
		"unknown set":     {"set.nft", "flush ruleset\ntable inet t {\n\tchain c {\n\t\ttype filter hook forward priority 0;\n\t\tip saddr @nobody drop\n\t}\n}\n", "set.nft:5:"},
		"unknown flow":    {"flow.nft", "flush ruleset\ntable inet t {\n\tchain c {\n\t\ttype filter hook forward priority 0;\n\t\tflow add @nobody\n\t}\n}\n", "flow.nft:5:"},
		"half a table":    {"half.nft", "flush ruleset\ntable inet t {\n", "half.nft:"},
		"half a document": {"half.json", `{"nftables": [{"flush": {"ruleset": null}},`, "half.json"},
		"missing include": {"include.nft", "flush ruleset\ninclude \"nothing-here.nft\"\n", "include.nft:2:"},
	} {
		for _, flags := range []string{"", "--lower ", "--json "} {
			t.Run(name+" "+flags, func(t *testing.T) {
				file := write(t, c.file, c.text)
				outcome(t, r.Router, commandLine(t, "load "+flags+file)).refused(t, 7, c.place)
				if after := r.Router.Run("nft", "list", "ruleset"); after != before {
					t.Errorf("the ruleset was\n%s\nand is\n%s", before, after)
				}
			})
		}
	}
}

func TestBrokenRulesetDoesNotDisturbARunningDaemon(t *testing.T) {
	r, d := start(t)
	udp := forwarded(t, r, d)
	before := d.Status().Stats.FastPackets().Packets
	file := write(t, "broken.nft", "flush ruleset\nfrobnicate\n")
	outcome(t, r.Router, commandLine(t, "load "+file)).refused(t, 7, "broken.nft:2:")
	if err := udp.Exchange(500, 1000, quiet).Whole(); err != nil {
		t.Error(err)
	}
	if got := d.Status().Stats.FastPackets().Packets - before; got < 900 {
		t.Errorf("%d of 1000 packets were fast after the refused ruleset", got)
	}
}

func TestFileThatCannotBeReadIsRefused(t *testing.T) {
	r := loaded(t)
	for name, file := range map[string]string{"missing": filepath.Join(t.TempDir(), "nothing.nft"), "directory": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			outcome(t, r.Router, commandLine(t, "load "+file)).refused(t, 2, file)
		})
	}
}

func TestEnableAndDisableTwiceChangeNothingTheSecondTime(t *testing.T) {
	r := loaded(t)
	plain := r.Router.Run("nft", "list", "ruleset")
	enable := func(args string) string {
		t.Helper()
		s := outcome(t, r.Router, commandLine(t, "enable "+args))
		if s.code != 0 || s.stderr != "" || !strings.HasPrefix(s.stdout, "enabled table inet nft_offload") {
			t.Errorf("enable %s: %+v", args, s)
		}
		return r.Router.Run("nft", "-a", "list", "ruleset") // with handles: made anew, they differ
	}
	first := enable("r0 r1")
	for _, again := range []string{"r0 r1", "r1 r0", "r0 r1 r0"} {
		if second := enable(again); second != first {
			t.Errorf("enable %s: it was\n%s\nand is\n%s", again, first, second)
		}
	}
	for _, want := range []string{"removed table inet nft_offload\n", "not enabled: nothing to remove\n"} {
		if s := outcome(t, r.Router, commandLine(t, "disable")); s.code != 0 || s.stderr != "" || s.stdout != want {
			t.Errorf("disable: %+v, want %q", s, want)
		}
		if after := r.Router.Run("nft", "list", "ruleset"); after != plain {
			t.Errorf("it was\n%s\nand is\n%s", plain, after)
		}
	}
}

func TestImpossibleFilterIsRefusedWithAndWithoutADaemon(t *testing.T) {
	r := loaded(t)
	filters := map[string]string{
		"--src 10.0.0.0/33":               `source "10.0.0.0/33" is neither an address nor a prefix`,
		"--dst example":                   `destination "example" is neither`,
		"--port 0":                        `port "0" is not a number from 1 to 65535`,
		"--port 65536":                    `port "65536" is not a number`,
		"--port 80,443":                   `port "80,443" is not a number`,
		"--proto icmp":                    `protocol "icmp" is neither tcp nor udp`,
		"--src 10.0.0.1 --dst 2001:db8::": "no flow goes from 10.0.0.1 to 2001:db8::",
	}
	check := func(t *testing.T) {
		for args, want := range filters {
			t.Run(args, func(t *testing.T) {
				outcome(t, r.Router, commandLine(t, "flows "+args)).refused(t, 2, want)
				outcome(t, r.Router, commandLine(t, "flows --json "+args)).refused(t, 2, want)
			})
		}
	}
	t.Run("without", func(t *testing.T) {
		check(t)
		outcome(t, r.Router, commandLine(t, "flows --proto tcp")).refused(t, 5, "no daemon runs in this network namespace")
	})
	t.Run("with", func(t *testing.T) {
		d := daemon.Start(t, r.Router)
		forwarded(t, r, d)
		check(t)
		for args, some := range map[string]bool{
			"flows --json --src 10.0.1.0/24 --port 5002 --proto udp": true, "flows --json --src 192.0.2.1": false,
		} {
			if s := outcome(t, r.Router, commandLine(t, args)); s.code != 0 || (strings.TrimSpace(s.stdout) != "[]") != some {
				t.Errorf("%s: %+v", args, s)
			}
		}
	})
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
