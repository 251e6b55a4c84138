package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/nft-offload/nft-offload/internal/eval"
)

func TestTraceOfACaptureTracesItsFirstPackets(t *testing.T) {
	dir := t.TempDir()
	capture, rules := filepath.Join(dir, "c.pcap"), filepath.Join(dir, "r.json")
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(1<<16, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"ip saddr 10.0.0.1 udp dport 53", "ip saddr 10.0.0.2 udp dport 53", "ip saddr 10.0.0.3 tcp dport 53"} {
		p, err := eval.Describe(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(0, 0), CaptureLength: len(p.Frame), Length: len(p.Frame)}, p.Frame); err != nil {
			t.Fatal(err)
		}
	}
	const listing = `{"nftables": [
		{"table": {"family": "ip", "name": "t"}},
		{"chain": {"family": "ip", "table": "t", "name": "c", "type": "filter", "hook": "prerouting", "prio": 0, "policy": "accept"}},
		{"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [
			{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.0.0.2"}}, {"drop": null}]}}]}`
	for name, data := range map[string][]byte{capture: b.Bytes(), rules: []byte(listing)} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	e := &env{
		ctx: t.Context(), stdout: &out, stderr: &errs, getenv: func(string) string { return "" },
		args: []string{"trace", "--json", "--dev", "eth0", "--ruleset", rules, "--pcap", capture, "--count", "2"},
	}
	if code := run(e); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	var got []traced
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Ways[0].Verdict != eval.Accepted || got[1].Ways[0].Verdict != eval.Dropped {
		t.Errorf("got %s", out.String())
	}
}
