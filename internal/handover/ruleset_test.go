package handover

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func decode(t *testing.T, objects ...string) Ruleset {
	t.Helper()
	r, err := Decode([]byte(`{"nftables": [` + strings.Join(objects, ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// rules returns rules of chain c in table inet t with the statements given.
func ruleJSON(chain string, statements ...string) string {
	return fmt.Sprintf(`{"rule": {"family": "inet", "table": "t", "chain": %q, "handle": 9, "expr": [%s]}}`, chain, strings.Join(statements, ","))
}

const (
	ifSet   = `{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "@f"}}`
	label   = `{"match": {"op": "in", "left": {"ct": {"key": "label"}}, "right": %d}}`
	pass    = `{"jump": {"target": "nft_offload_pass"}}`
	lowered = `{"set": {"family": "inet", "name": "f", "table": "t", "type": "ifname", "handle": 3,
		"comment": "nft-offload lowered flowtable; priority=filter-10; flags=counter,offload", "elem": ["r1", {"elem": {"val": "r0"}}]}}`
)

func TestDecode_Flowtables_RealAndLowered(t *testing.T) {
	r := decode(t,
		`{"metainfo": {"version": "1.0.6"}}`,
		`{"flowtable": {"family": "ip", "name": "g", "table": "u", "handle": 1, "hook": "ingress", "prio": -5, "dev": "eth0"}}`,
		`{"flowtable": {"family": "ip", "name": "h", "table": "u", "hook": "ingress", "prio": 0, "dev": ["b", "a"], "flags": "offload"}}`,
		lowered,
		ruleJSON("c", ifSet, fmt.Sprintf(label, 126), pass),
		ruleJSON("d", ifSet, fmt.Sprintf(label, 63), pass),
		ruleJSON("d", ifSet, fmt.Sprintf(label, 5), `{"accept": null}`), // somebody's own
	)
	want := []Flowtable{
		{Family: "ip", Table: "u", Name: "g", Devices: []string{"eth0"}, Hook: "ingress", Priority: "-5"},
		{Family: "ip", Table: "u", Name: "h", Devices: []string{"a", "b"}, Hook: "ingress", Priority: "0", Flags: []string{"offload"}},
		{
			Family: "inet", Table: "t", Name: "f", Devices: []string{"r0", "r1"}, Hook: "ingress", Priority: "filter-10",
			Flags: []string{"counter", "offload"}, Lowered: true, Labels: Labels{1 << 63, 1 << 62},
		},
	}
	if d := cmp.Diff(want, r.Flowtables); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if want := "5,63,126"; r.Labels.String() != want {
		t.Errorf("labels in use: %s, want %s", r.Labels, want)
	}
}

// What nft 1.0.6 makes of a lowered ruleset that it is given as JSON has no comment.
func TestDecode_LoweredWithoutComment_IsKnownByItsRule(t *testing.T) {
	plain := `{"set": {"family": "inet", "name": "f", "table": "t", "type": "ifname", "elem": ["r1", "r0"]}}`
	r := decode(t, plain, ruleJSON("c", ifSet, fmt.Sprintf(label, 126), pass))
	want := []Flowtable{{Family: "inet", Table: "t", Name: "f", Hook: "ingress", Devices: []string{"r0", "r1"}, Lowered: true, Labels: Labels{0, 1 << 62}}}
	if d := cmp.Diff(want, r.Flowtables); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	for name, objects := range map[string][]string{
		"no rule":              {plain},
		"somebody's own rule":  {plain, ruleJSON("c", ifSet, fmt.Sprintf(label, 126), `{"accept": null}`)},
		"another set":          {plain, ruleJSON("c", strings.ReplaceAll(ifSet, "@f", "@g"), fmt.Sprintf(label, 126), pass)},
		"another comment":      {strings.Replace(plain, `"elem"`, `"comment": "mine", "elem"`, 1), ruleJSON("c", ifSet, pass)},
		"another type":         {strings.Replace(plain, `"ifname"`, `"ipv4_addr"`, 1), ruleJSON("c", ifSet, pass)},
		"a type of two fields": {strings.Replace(plain, `"ifname"`, `["ifname", "mark"]`, 1), ruleJSON("c", ifSet, pass)},
	} {
		if r := decode(t, objects...); len(r.Flowtables) != 0 {
			t.Errorf("%s: %+v", name, r.Flowtables)
		}
	}
}

func TestDecode_LoweredWithMark_HasTheMark(t *testing.T) {
	r := decode(t, lowered, ruleJSON("c", ifSet,
		`{"match": {"op": "==", "left": {"&": [{"ct": {"key": "mark"}}, 64]}, "right": 64}}`, pass))
	if f := r.Flowtables[0]; f.Mark != 64 || !f.Labels.Empty() {
		t.Errorf("got %+v", f)
	}
}

func TestDecode_Chains_CountRulesAndLeaveOutRegularOnes(t *testing.T) {
	base := `{"chain": {"family": "inet", "table": "t", "name": %q, "type": "filter", "hook": %q, "prio": 0, "policy": %q%s}}`
	r := decode(t,
		fmt.Sprintf(base, "in", "ingress", "accept", `, "dev": "eth0"`),
		fmt.Sprintf(base, "idle", "ingress", "accept", `, "dev": ["eth0", "eth1"]`),
		fmt.Sprintf(base, "wall", "ingress", "drop", `, "dev": ["eth1"]`),
		fmt.Sprintf(base, "fwd", "forward", "drop", ""),
		`{"chain": {"family": "inet", "table": "t", "name": "user"}}`,
		ruleJSON("in", `{"accept": null}`),
		ruleJSON("user", `{"accept": null}`),
	)
	names := func(chains []Chain) (out []string) {
		for _, c := range chains {
			out = append(out, fmt.Sprintf("%s/%d", c.Name, c.Rules))
		}
		return out
	}
	for dev, want := range map[string][]string{"eth0": {"in/1"}, "eth1": {"wall/0"}, "eth2": nil} {
		if got := names(r.Ingress(dev)); !slices.Equal(got, want) {
			t.Errorf("Ingress(%s) = %q, want %q", dev, got, want)
		}
	}
	if got, want := names(r.Chains), []string{"in/1", "idle/0", "wall/0", "fwd/0"}; !slices.Equal(got, want) {
		t.Errorf("chains %q, want %q", got, want)
	}
}

func TestDecode_LabelsInNamedSets_Count(t *testing.T) {
	r := decode(t,
		`{"set": {"family": "inet", "name": "s", "table": "t", "type": "ct_label", "elem": [7, {"elem": {"val": 9}}]}}`,
		ruleJSON("c", `{"match": {"op": "==", "left": {"ct": {"key": "label"}}, "right": "@s"}}`),
		ruleJSON("c", `{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}`),
	)
	if want := "7,9"; r.Labels.String() != want {
		t.Errorf("labels in use: %q, want %q", r.Labels, want)
	}
}

func TestDecode_UnknownShapes_AreLeftOut(t *testing.T) {
	r := decode(t,
		`{"tunnel": {"name": 3}}`, `{"chain": 7}`, `{"rule": {"expr": "x"}}`, `{"rule": {"expr": [null, 3, "x", {"xt": null}]}}`,
		`{"flowtable": {"name": "f", "prio": "filter", "dev": {"a": 1}, "flags": 3}}`,
		`{"set": {"comment": "nft-offload lowered flowtable", "elem": 5}}`,
		`{"map": {"elem": [[1, 2], {"elem": 3}]}}`,
	)
	if len(r.Flowtables) != 2 || len(r.Chains) != 0 {
		t.Errorf("got %+v", r)
	}
}

func TestDecode_NotARuleset_Fails(t *testing.T) {
	for _, doc := range []string{"", "table ip t", "[]", "{}", `{"nftables": 3}`} {
		if _, err := Decode([]byte(doc)); err == nil {
			t.Errorf("%q: no error", doc)
		}
	}
}

func TestMarkConflicts_OnlyRulesThatNoticeTheBit(t *testing.T) {
	const ct = `{"ct": {"key": "mark"}}`
	match := func(left, right string) string {
		return `{"match": {"op": "==", "left": ` + left + `, "right": ` + right + `}}`
	}
	set := func(key, value string) string {
		return `{"mangle": {"key": ` + key + `, "value": ` + value + `}}`
	}
	meta := `{"meta": {"key": "mark"}}`
	tests := map[string]struct {
		statement string
		chain     string
		why       string // part of it; "" for no conflict
	}{
		"compare":                    {statement: match(ct, "64"), why: "reads"},
		"compare, bit masked out":    {statement: match(`{"&": [`+ct+`, 15]}`, "1")},
		"compare, bit in mask":       {statement: match(`{"&": [`+ct+`, 255]}`, "1"), why: "reads"},
		"test the bit itself":        {statement: match(`{"&": [`+ct+`, 64]}`, "64"), why: "reads"},
		"set lookup":                 {statement: match(ct, `{"set": [1, 2]}`), why: "reads"},
		"in a concatenation":         {statement: match(`{"concat": [`+ct+`, `+meta+`]}`, `"@s"`), why: "reads"},
		"copy to the packet":         {statement: set(meta, ct), why: "reads"},
		"masked copy":                {statement: set(meta, `{"&": [`+ct+`, 15]}`)},
		"copy from the packet":       {statement: set(ct, meta), why: "overwrites"},
		"constant":                   {statement: set(ct, "64"), why: "overwrites"},
		"set another bit":            {statement: set(ct, `{"|": [`+ct+`, 1]}`)},
		"clear another, set another": {statement: set(ct, `{"|": [{"&": [`+ct+`, 4294967294]}, 2]}`)},
		"clear the bit":              {statement: set(ct, `{"&": [`+ct+`, 15]}`), why: "overwrites"},
		"set the bit":                {statement: set(ct, `{"|": [`+ct+`, 64]}`), why: "overwrites"},
		"set the bit, lowered":       {statement: set(ct, `{"|": [`+ct+`, 64]}`), chain: AddChain + "1"},
		"test the bit, lowered":      {statement: match(`{"&": [`+ct+`, 64]}`, "64"), chain: AddChain + "1"},
		"iptables extension":         {statement: `{"xt": {"type": "target", "name": "CONNMARK"}}`, why: "iptables"},
		"packet mark":                {statement: match(meta, "64")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			chain := tt.chain
			if chain == "" {
				chain = "c"
			}
			got := decode(t, ruleJSON(chain, tt.statement)).MarkConflicts(64)
			if tt.why == "" && len(got) > 0 {
				t.Errorf("conflict: %v", got)
			}
			if tt.why != "" && (len(got) != 1 || !strings.Contains(got[0].String(), tt.why)) {
				t.Errorf("got %v, want one that %s", got, tt.why)
			}
		})
	}
}

func TestLabels_SetOperations(t *testing.T) {
	l := Label(0)
	l.Add(63)
	l.Add(64)
	l.Add(127)
	l.Add(128)
	l.Add(-1)
	if got := l.List(); !slices.Equal(got, []int{0, 63, 64, 127}) {
		t.Errorf("list %v", got)
	}
	if !l.Has(64) || l.Has(65) || l.Has(128) || l.Has(-1) {
		t.Error("wrong members")
	}
	if u := Label(1).Union(Label(2)); u != (Labels{6, 0}) {
		t.Errorf("union %v", u)
	}
	b, err := json.Marshal(map[string]Labels{"l": l})
	if err != nil || string(b) != `{"l":"0,63,64,127"}` {
		t.Errorf("JSON %s, %v", b, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"nftables": [` + lowered + `,` + ruleJSON("c", ifSet, fmt.Sprintf(label, 1), pass) + `]}`)
	f.Add(`{"nftables": [{"rule": {"expr": [{"match": {"left": {"&": []}}}, {"mangle": {"key": {"ct": {"key": "mark"}}, "value": {"&": [1]}}}]}}]}`)
	f.Fuzz(func(t *testing.T, doc string) {
		a, err := Decode([]byte(doc))
		if err != nil {
			return
		}
		a.MarkConflicts(1)
		b, err := Decode([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(a, b, cmpopts.IgnoreUnexported(Ruleset{})); d != "" {
			t.Errorf("two decodings differ:\n%s", d)
		}
	})
}

func TestNames_AsteriskAtTheEnd_MeansAllThatBeginSo(t *testing.T) {
	for _, c := range []struct {
		listed, device string
		want           bool
	}{
		{"eth0", "eth0", true},
		{"eth0", "eth01", false},
		{"eth*", "eth0", true},
		{"eth*", "eth", true},
		{"eth*", "veth0", false},
		{"*", "lo", true},
		{"et*0", "eth0", false},
		{"", "eth0", false},
	} {
		if got := Names(c.listed, c.device); got != c.want {
			t.Errorf("%q names %q: %v", c.listed, c.device, got)
		}
	}
	r := Ruleset{Chains: []Chain{{Family: "netdev", Name: "c", Hook: "ingress", Devices: []string{"eth*"}, Rules: 1}}}
	if len(r.Ingress("eth7")) != 1 || len(r.Ingress("wan")) != 0 {
		t.Error("chain on eth* is not on eth7, or on wan")
	}
}
