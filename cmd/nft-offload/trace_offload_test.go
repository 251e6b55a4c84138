package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/plan/contract"
)

// TestTraceSaysWhatTheFlowtableDoes compares what trace says of packets that come to `flow add` with
// testdata/trace/offload.golden; UPDATE_DOCS=1 writes it. test/reasons takes from there what trace can say.
func TestTraceSaysWhatTheFlowtableDoes(t *testing.T) {
	const ct, up, all = "--ct", "state=established", "state=established,status=confirmed|assured"
	frame := func(proto uint8, src, dst string, change func(*packet.Spec)) string {
		s := packet.New(packet.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Proto: proto}, make([]byte, 32))
		change(&s)
		return hex.EncodeToString(s.Build())
	}
	odd := func(proto uint8, change func(*packet.Spec)) string {
		return frame(proto, "192.0.2.1:40000", "198.51.100.1:443", change)
	}
	const machine = "testdata/trace/machine.json"
	latest, err := os.ReadFile(machine)
	if err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(t.TempDir(), "old.json")
	if err := os.WriteFile(old, bytes.Replace(latest, []byte("7.1.0"), []byte("6.12.0"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, x := range []struct {
		what string
		args []string
	}{
		{"an established flow of which no status is given", []string{ct, up, "tcp dport 443 tcp flags ack"}},
		{"an established flow", []string{ct, all, "tcp dport 443 tcp flags ack"}},
		{"a new connection", []string{ct, "state=new", "tcp dport 443"}},
		{"a flow that nobody tracks", []string{ct, "state=untracked", "udp dport 53"}},
		{"a connection that is not assured", []string{ct, up + ",status=confirmed", "tcp flags ack"}},
		{"a connection with a helper", []string{ct, all + ",helper=ftp", "tcp dport 21 tcp flags ack"}},
		{"a flow that is in a flowtable", []string{ct, up + ",status=assured|confirmed|0x4000", "tcp flags ack"}},
		{"a protocol that is not carried", []string{ct, all, "ip protocol sctp"}},
		{"the end of a connection", []string{ct, all, "tcp flags fin"}},
		{"the end of a connection, before Linux 6.18", []string{"--caps", old, ct, all, "tcp flags fin"}},
		{"the last hop, as JSON", []string{"--json", ct, all, "ip ttl 1 udp dport 53"}},
		{"the last hop", []string{ct, all, "ip ttl 1 udp dport 53"}},
		{"a fragment", []string{ct, all, "ip frag-off 8192 udp dport 53"}},
		{"options", []string{ct, all, "--hex", odd(packet.UDP, func(s *packet.Spec) { s.Options = []byte{1, 1, 1, 0} })}},
		{"an extension header", []string{ct, all, "--hex", frame(packet.UDP, "[2001:db8::1]:40000", "[2001:db8:1::1]:443", func(s *packet.Spec) { s.Extensions = []packet.Extension{{Proto: 60, Body: make([]byte, 6)}} })}},
		{"PPTP", []string{ct, all, "--hex", odd(contract.GRE, func(s *packet.Spec) { s.Payload[0], s.Payload[1] = 0x20, 1 })}},
		{"GRE", []string{ct, all, "--hex", odd(contract.GRE, func(*packet.Spec) {})}},
		{"translated GRE", []string{ct, all + "|snat", "--hex", odd(contract.GRE, func(*packet.Spec) {})}},
		{"translated IPv6", []string{ct, all + "|snat", "ip6 hoplimit 9 udp dport 53"}},
		{"two more tags than the device takes off", []string{ct, all, "--hex", odd(packet.UDP, func(s *packet.Spec) {
			s.Tags = []packet.Tag{{TPID: packet.EtherTypeQinQ, TCI: 1}, {TPID: packet.EtherTypeVLAN, TCI: 2}, {TPID: packet.EtherTypeVLAN, TCI: 3}}
		})}},
		{"a long packet", []string{ct, all, "--hex", odd(packet.UDP, func(s *packet.Spec) { s.Payload = make([]byte, 1473) })}},
		{"a device that the flowtable does not list", []string{"--dev", "dmz", ct, all, "udp dport 53"}},
		{"a device of another driver", []string{"--out", "dmz", ct, all, "udp dport 53"}},
		{"out of IPsec", []string{"--dev", "xfrm0", ct, all, "udp dport 53"}},
		{"into IPsec", []string{"--out", "xfrm0", ct, all, "udp dport 53"}},
		{"into a tunnel", []string{"--out", "tun0", ct, all, "udp dport 53"}},
		{"into a tunnel in a tunnel", []string{"--out", "tun1", ct, all, "udp dport 53"}},
		{"an established flow that another rule accepts", []string{ct, all, "meta mark 7 udp dport 53"}},
		{"a protocol that is not carried, which another rule accepts", []string{ct, all, "meta mark 7 ip protocol sctp"}},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"trace", "--ruleset", "testdata/trace/flowtable.json"}, x.args...)
		for _, flag := range [][]string{{"--dev", "lan"}, {"--out", "wan"}, {"--caps", machine}} {
			if !strings.Contains(strings.Join(x.args, " "), flag[0]) {
				args = append(args, flag...)
			}
		}
		e := &env{ctx: t.Context(), stdout: &out, stderr: &errs, getenv: func(string) string { return "" }, args: args}
		if code := run(e); code != 0 {
			t.Errorf("%s: exit code %d: %s", x.what, code, errs.String())
		}
		fmt.Fprintf(&b, "== %s\n%s\n", x.what, out.String())
	}
	const file = "testdata/trace/offload.golden"
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s is not what is said now; UPDATE_DOCS=1 writes it:\n%s", file, b.String())
	}
}
