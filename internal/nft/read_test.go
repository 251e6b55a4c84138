package nft

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

const router = `define wan = "wan0"
define lans = { lan0, lan1 }
flush ruleset
table inet fw {
	flowtable f {
		hook ingress priority filter + 5
		devices = { $wan, $lans }
		flags offload
		counter
	}
	set hosts { type ipv4_addr; elements = { 10.0.0.1 } }
	chain forward {
		type filter hook forward priority filter; policy drop;
		iif $wan tcp dport 22 drop
		meta l4proto { tcp, udp } ct state established flow add @f counter comment "fast"
		ct state established,related accept
		jump more
	}
	chain more {
		ip saddr @hosts flow offload @f accept; oifname "lan9" accept
	}
}
table netdev ddos {
	chain ing {
		type filter hook ingress devices = { wan0, lan0 } priority 1; policy accept;
		flags offload;
		ip saddr 192.0.2.0/24 drop
	}
	chain one { type filter hook ingress device wan0 priority 5; }
}
add chain inet fw extra
add rule inet fw extra ip daddr 10.0.0.2 flow add @f
table ip sleeping {
	flags dormant
	chain c { type filter hook input priority 0; }
}
`

// readRouter is what router must be read as.
const readRouter = `table inet fw {
	set hosts {
		type ipv4_addr
		elements = { 10.0.0.1 }
	}

	flowtable f {
		hook ingress priority filter + 5
		devices = { "wan0", "lan0", "lan1" }
		counter
		flags offload
	}

	chain forward {
		type filter hook forward priority filter; policy drop;
		iif "wan0" tcp dport 22 drop
		meta l4proto { tcp, udp } ct state established flow add @f counter packets 0 bytes 0 comment "fast"
		ct state established,related accept
		jump more
	}

	chain more {
		ip saddr @hosts flow add @f accept
		oifname "lan9" accept
	}

	chain extra {
		ip daddr 10.0.0.2 flow add @f
	}
}
table netdev ddos {
	chain ing {
		type filter hook ingress devices = { "lan0", "wan0" } priority filter + 1; flags offload; policy accept;
		ip saddr 192.0.2.0/24 drop
	}

	chain one {
		type filter hook ingress device "wan0" priority filter + 5; policy accept;
	}
}
table ip sleeping {
	flags dormant

	chain c {
		type filter hook input priority filter; policy accept;
	}
}
`

func TestRead_Text_KeepsFlowtablesAndFlagsInPlace(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.NFT)
	r, err := Read(context.Background(), "-", strings.NewReader(router))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.String(); got != readRouter {
		t.Errorf("got\n%s\nwant\n%s", got, readRouter)
	}
}

func TestRead_Live_FillsInWhatTheJSONLeavesOut(t *testing.T) {
	ns := nsWith(t, "")
	ns.Run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
	ns.NFTables(`table netdev n {
	chain two { type filter hook ingress devices = { eth1, eth0 } priority 0; }
	chain one { type filter hook egress device eth0 priority 0; }
}
table ip sleeping {
	flags dormant
	chain c { type filter hook input priority 0; }
}
`)
	var r *ruleset.Ruleset
	err := ns.Do(func() error {
		var err error
		r, err = Read(context.Background(), "", nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	n := r.Table(ruleset.Netdev, "n")
	if got := n.Chain("two").Base.Devices; strings.Join(got, " ") != "eth0 eth1" {
		t.Errorf("devices of two: %q", got)
	}
	if got := n.Chain("one").Base.Devices; strings.Join(got, " ") != "eth0" {
		t.Errorf("devices of one: %q", got)
	}
	if !r.Table(ruleset.IP, "sleeping").Dormant() || n.Dormant() {
		t.Errorf("flags: %q and %q", r.Table(ruleset.IP, "sleeping").Flags, n.Flags)
	}
}

func TestRead_BadInput_SaysWhere(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.NFT)
	for name, c := range map[string]struct{ text, want string }{
		"json":    {`{"nftables": [{"table": {"family": "inet7", "name": "t"}}]}`, `standard input: decode ruleset: line 1, column 36 (object 0, table): unknown family "inet7"`},
		"text":    {"table inet t {\n\tchain c {\n\t\tflow add @f nonsense\n\t}\n}\n", "standard input:3:"},
		"hook":    {"table ip t {\n flowtable f { hook ingress priority 0; }\n chain c {\n  type filter hook input priority 0\n  flow add @f\n }\n}\n", "standard input:5: `flow add` works in chains of the forward hook, not input"},
		"device":  {"table ip t {\n flowtable f { hook ingress priority 0; devices = { lo, abcdefghijklmnop }; }\n}\n", `standard input:2: flowtable f: the device name "abcdefghijklmnop" is longer than 15 bytes`},
		"control": {"table ip t {\n chain c {\n  iifname \"a\x1bb\"\n }\n}\n", `standard input:3: a control character in the string "\"a\x1bb\""`},
		"long":    {"table ip t {\n chain c {\n  ip saddr { " + strings.Repeat("10.0.0.1,", 1<<20) + " }\n }\n}\n", "standard input:3: a rule of 9437199 bytes, more than the 4194304"},
	} {
		r, err := Read(context.Background(), "-", strings.NewReader(c.text))
		if r != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v; want %s", name, r, err, c.want)
		}
	}
	if _, err := Read(context.Background(), filepath.Join(t.TempDir(), "gone"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// readAsUser, when it is set in the environment, makes the test binary read standard input and print the ruleset.
const readAsUser = "NFT_OFFLOAD_TEST_READ"

func writeOut(s string) error {
	_, err := os.Stdout.WriteString(s)
	return err
}

func TestRead_TextWithoutRoot_GivesTheSame(t *testing.T) {
	if os.Getenv(readAsUser) != "" {
		r, err := Read(context.Background(), "-", os.Stdin)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeOut(r.String()); err != nil {
			t.Fatal(err)
		}
		return
	}
	testkit.Need(t, testkit.Netns, testkit.NFT)
	out, err := asUser(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
	if err != nil || !strings.Contains(out, readRouter) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRead_TextWhereNoUserNamespaceIsPermitted_SaysSo(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.NFT)
	out, err := asUser(t, "unshare", "-r", "sh", "-c",
		`echo 0 >/proc/sys/user/max_user_namespaces; exec setpriv --inh-caps=-all --bounding-set=-all "$@"`, "sh")
	const want = "takes a user namespace of its own, which this machine does not permit"
	if err == nil || !strings.Contains(out, want) {
		t.Errorf("%v\n%s", err, out)
	}
}

// asUser reads router with the rights that a command leaves to what it runs: this test binary, again.
func asUser(t *testing.T, command ...string) (string, error) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "read.test")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	// The directories of the test are root's alone.
	if err := errors.Join(os.WriteFile(bin, self, 0o755), os.Chmod(filepath.Dir(bin), 0o755), os.Chmod(filepath.Dir(filepath.Dir(bin)), 0o755)); err != nil {
		t.Fatal(err)
	}
	args := append(command[1:], bin, "-test.run=^TestRead_TextWithoutRoot_GivesTheSame$")
	cmd := exec.Command(command[0], args...)
	cmd.Dir, cmd.Stdin = "/", strings.NewReader(router)
	cmd.Env = append(os.Environ(), readAsUser+"=1", "HOME=/")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// FuzzStripText: whatever the text, taking flowtables out of it neither panics nor loses the place of a line.
func FuzzStripText(f *testing.F) {
	f.Add(router)
	f.Add("add flowtable inet t f { hook ingress priority $p; devices = { $d }; }\ndelete flowtable inet t f\n")
	f.Add("table ip t { chain c { flow add @f } }\ntable ip t {")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "include") {
			return // would read files of this machine
		}
		r, err := stripText(Source{Name: "text", Dir: ".", Text: text})
		if err != nil {
			return
		}
		out := r.out.b.String()
		for line := range strings.Count(out, "\n") {
			if file, n := r.where(line + 1); file != "text" || n < 1 || n > 1+strings.Count(text, "\n") {
				t.Fatalf("line %d of\n%s\nis line %d of %s", line+1, out, n, file)
			}
		}
		parseHeads(out)
	})
}

func TestRead_WhatNftCrashesOn_IsOneClearError(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.NFT)
	const text = "table ip t {\n\tchain c {\n\t\ttcp option @42,16,4 5\n\t}\n}\n"
	r, err := Read(context.Background(), "-", strings.NewReader(text))
	if err == nil { // an nft without the bug
		if got := r.Tables[0].Chains[0].Rules[0].String(); got != "tcp option @42,16,4 5" {
			t.Errorf("got %s", got)
		}
		return
	}
	if !errors.Is(err, ErrJSON) || r != nil {
		t.Errorf("got %v, %v; want %v", r, err, ErrJSON)
	}
}
