package eval_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// FuzzRun evaluates whatever decodes: no ruleset and no frame may make the evaluator panic or run on for ever.
func FuzzRun(f *testing.F) {
	frame, err := eval.Describe("ip saddr 192.0.2.1 tcp dport 443")
	if err != nil {
		f.Fatal(err)
	}
	files, err := filepath.Glob("../ruleset/testdata/*.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"nftables": [{"table": {"family": "ip", "name": "t"}},
		{"chain": {"family": "ip", "table": "t", "name": "c", "type": "filter", "hook": "prerouting", "prio": 0}},
		{"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [{"goto": {"target": "c"}}]}}]}`), frame.Frame, uint8(2))
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, frame.Frame, uint8(2))
	}
	f.Fuzz(func(_ *testing.T, doc, data []byte, route uint8) {
		const most = 1 << 16
		if len(doc) > most || len(data) > most {
			return
		}
		rs, err := ruleset.Decode(doc)
		if err != nil {
			return
		}
		in := &eval.Device{Name: "eth0", Bridge: &eval.Device{Name: "br0"}}
		if route&0x80 != 0 {
			in.Bridge = nil
		}
		eval.New(rs, nil).Run(eval.Packet{
			Frame: data, Bare: route&0x40 != 0, In: in, Out: &eval.Device{Name: "eth1"}, Route: eval.Route(route & 7),
			CT: &eval.Conntrack{State: uint32(route)},
		})
	})
}
