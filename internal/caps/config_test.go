package caps_test

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/caps"
)

func TestParseConfigTakesModulesForYesAndAbsentForNo(t *testing.T) {
	got := caps.ParseConfig([]byte(`# Linux/x86 6.12.103 Kernel Configuration
CONFIG_NF_FLOW_TABLE=m
CONFIG_NF_TABLES=y
# CONFIG_NET_CLS_FLOWER is not set
CONFIG_DEFAULT_HOSTNAME="(none)"
`))
	for o, want := range map[caps.Option]caps.Answer{
		caps.OptFlowtable: caps.Yes, caps.OptNFTables: caps.Yes, caps.OptClsFlower: caps.No, caps.OptActCT: caps.No,
		caps.OptCTKfuncs: caps.Unknown,
	} {
		if got[o] != want {
			t.Errorf("%s: %s, want %s", o, got[o], want)
		}
	}
	if caps.ParseConfig([]byte("no such text\n")) != nil {
		t.Error("something was read out of no configuration")
	}
}

func TestDeduceNeedsVersionAndOptions(t *testing.T) {
	tests := []struct {
		release    string
		btf, flow  caps.Answer
		lookup, ct caps.Answer
	}{
		{"6.12.1", caps.Yes, caps.Yes, caps.Yes, caps.Yes},
		{"6.12.1", caps.No, caps.Yes, caps.No, caps.No},
		{"6.12.1", caps.Yes, caps.Unknown, caps.Unknown, caps.Yes},
		{"6.1.50", caps.Yes, caps.Unknown, caps.No, caps.Yes},
		{"5.10.1", caps.Yes, caps.Yes, caps.No, caps.No},
	}
	for _, tt := range tests {
		k := caps.Kernel{Version: version(t, tt.release), Options: map[caps.Option]caps.Answer{
			caps.OptBTF: tt.btf, caps.OptFlowtable: tt.flow, caps.OptConntrack: caps.Yes,
		}}
		k.Deduce()
		if k.Has(caps.OptXDPFlowLookup) != tt.lookup || k.Has(caps.OptCTKfuncs) != tt.ct {
			t.Errorf("%+v: lookup %s, kfuncs %s", tt, k.Has(caps.OptXDPFlowLookup), k.Has(caps.OptCTKfuncs))
		}
	}
}

func TestEveryOptionIsRead(t *testing.T) {
	seen := map[caps.Option]bool{}
	for _, o := range caps.Options() {
		if seen[o] {
			t.Errorf("%s twice", o)
		}
		seen[o] = true
		if o.Symbol() == "" && o != caps.OptXDPFeatures && o != caps.OptXDPFlowLookup && o != caps.OptCTKfuncs {
			t.Errorf("%s has no symbol", o)
		}
	}
}
