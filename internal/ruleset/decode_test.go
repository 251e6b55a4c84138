package ruleset_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// document puts objects into a document.
func document(objects ...string) string {
	return `{"nftables": [` + strings.Join(objects, ",\n") + `]}`
}

const (
	tableT = `{"table": {"family": "inet", "name": "t", "handle": 1}}`
	chainC = `{"chain": {"family": "inet", "table": "t", "name": "c", "handle": 2, "type": "filter", "hook": "forward", "prio": -5, "policy": "drop"}}`
)

// rule is a rule of chain c with the given statements.
func rule(stmts string) string {
	return `{"rule": {"family": "inet", "table": "t", "chain": "c", "handle": 3, "expr": [` + stmts + `]}}`
}

func decode(t testing.TB, doc string) *ruleset.Ruleset {
	t.Helper()
	r, err := ruleset.Decode([]byte(doc))
	if err != nil {
		t.Fatalf("%v\n%s", err, doc)
	}
	return r
}

// decodeStmts decodes statements as those of a rule.
func decodeStmts(t testing.TB, stmts string) []ruleset.Stmt {
	t.Helper()
	r := decode(t, document(tableT, chainC, rule(stmts)))
	return r.Tables[0].Chains[0].Rules[0].Stmts
}

func TestDecodeBuildsTablesFromTheListing(t *testing.T) {
	r := decode(t, document(
		`{"metainfo": {"version": "1.0.6"}}`, tableT, chainC,
		`{"counter": {"family": "inet", "name": "n", "table": "t", "handle": 9, "packets": 1, "bytes": 2}}`,
		`{"map": {"family": "inet", "name": "m", "table": "t", "type": ["ipv4_addr", "inet_service"], "handle": 5, "map": "verdict",
			"elem": [[{"concat": ["10.0.0.1", 80]}, {"accept": null}]]}}`,
		`{"flowtable": {"family": "inet", "name": "f", "table": "t", "handle": 8, "hook": "ingress", "prio": 0, "dev": ["a", "b"]}}`,
		rule(`{"flow": {"op": "add", "flowtable": "@f"}}, {"accept": null}`),
		`{"news": {"family": "inet"}}`,
	))
	want := &ruleset.Ruleset{
		Meta:   json.RawMessage(`{"version":"1.0.6"}`),
		Opaque: []json.RawMessage{json.RawMessage(`{"news":{"family":"inet"}}`)},
		Tables: []*ruleset.Table{{
			Family: ruleset.Inet, Name: "t", Handle: 1,
			Chains: []*ruleset.Chain{{
				Family: ruleset.Inet, Table: "t", Name: "c", Handle: 2,
				Base: &ruleset.Base{Type: "filter", Hook: "forward", Priority: -5, Policy: "drop"},
				Rules: []*ruleset.Rule{{
					Family: ruleset.Inet, Table: "t", Chain: "c", Handle: 3,
					Stmts: []ruleset.Stmt{ruleset.FlowAdd{Op: "add", Flowtable: "f"}, ruleset.Verdict{Kind: ruleset.Accept}},
				}},
			}},
			Sets: []*ruleset.Set{{
				Family: ruleset.Inet, Table: "t", Name: "m", Handle: 5, Type: []string{"ipv4_addr", "inet_service"},
				IsMap: true, MapType: []string{"verdict"},
				Elems: []ruleset.Expr{ruleset.Pair{
					Key:  ruleset.Concat{ruleset.Str("10.0.0.1"), ruleset.Num(80)},
					Data: ruleset.Verdict{Kind: ruleset.Accept},
				}},
			}},
			Flowtables: []*ruleset.Flowtable{{
				Family: ruleset.Inet, Table: "t", Name: "f", Handle: 8, Hook: "ingress", Devices: []string{"a", "b"},
			}},
			Objects: []*ruleset.Object{{
				Kind: "counter", Family: ruleset.Inet, Table: "t", Name: "n", Handle: 9,
				Fields: ruleset.Extra{"packets": json.RawMessage("1"), "bytes": json.RawMessage("2")},
			}},
		}},
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeStatements(t *testing.T) {
	tcpDport := ruleset.Payload{Proto: "tcp", Field: "dport"}
	for _, c := range []struct {
		json string
		want ruleset.Stmt
	}{
		{
			`{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"set": [22, {"range": [80, 90]}]}}}`,
			ruleset.Match{Op: "==", Left: tcpDport, Right: ruleset.SetLit{ruleset.Num(22), ruleset.Range{From: ruleset.Num(80), To: ruleset.Num(90)}}},
		},
	} {
		if diff := cmp.Diff([]ruleset.Stmt{c.want}, decodeStmts(t, c.json)); diff != "" {
			t.Errorf("%s\n%s", c.json, diff)
		}
	}
}

func TestDecodeReadsWhatNftPrintsAsText(t *testing.T) {
	const m = `{"map": {"family": "inet", "table": "t", "name": "m", "type": "ipv4_addr", "map": "mark"}}`
	saddr := ruleset.Payload{Proto: "ip", Field: "saddr"}
	for text, want := range map[string]ruleset.Stmt{
		"add @m { ip saddr : meta mark }": ruleset.SetUpdate{Op: "add", Set: "m", Elem: saddr, Data: ruleset.Meta{Key: "mark"}},
		"update @m { ip saddr . @th,16,16 timeout 1h30s : 10.0.0.1 . 80 }": ruleset.SetUpdate{
			Op: "update", Set: "m",
			Elem: ruleset.Elem{Val: ruleset.Concat{saddr, ruleset.RawPayload{Base: "th", Offset: 16, Len: 16}}, Timeout: 3630},
			Data: ruleset.Concat{ruleset.Str("10.0.0.1"), ruleset.Num(80)},
		},
		"add @m { ip saddr counter : 1 }": ruleset.Opaque{Raw: json.RawMessage(`"add @m { ip saddr counter : 1 }"`)},
		"tproxy to nowhere":               ruleset.Opaque{Raw: json.RawMessage(`"tproxy to nowhere"`)},
	} {
		r := decode(t, document(tableT, chainC, m, rule(fmt.Sprintf("%q", text))))
		stmt := r.Tables[0].Chains[0].Rules[0].Stmts[0]
		if diff := cmp.Diff(want, stmt); diff != "" {
			t.Errorf("%s\n%s", text, diff)
		}
		if got := fmt.Sprint(stmt); got != text {
			t.Errorf("got %s, want %s", got, text)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	deep := strings.Repeat(`{"|": [1,`, 400) + "1" + strings.Repeat("]}", 400)
	long := strings.Repeat(" ", 10<<20)
	for name, c := range map[string]struct{ doc, want string }{
		"nothing":              {"", "line 1, column 1: the JSON ends where a value should be"},
		"truncated":            {document(tableT, chainC)[:150], "line 2, column 80 (object 1, chain): the JSON ends inside a string"},
		"not a ruleset":        {`{"a": 1}`, "not a ruleset"},
		"text behind":          {document() + " x", "line 1, column 18: something follows"},
		"unknown family":       {document(`{"table": {"family": "inet7", "name": "t"}}`), `(object 0, table): unknown family "inet7"`},
		"no such table":        {document(chainC), `(object 0, chain): there is no table inet t`},
		"no such chain":        {document(tableT, rule("")), `(object 1, rule): table inet t has no chain c`},
		"jump nowhere":         {document(tableT, chainC, rule(`{"jump": {"target": "x"}}`)), `line 3, column 99 (object 2, rule): table inet t has no chain x`},
		"set nowhere":          {document(tableT, chainC, rule(`{"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": "@x"}}`)), `table inet t has no set x`},
		"deep":                 {document(tableT, chainC, rule(deep)), "(object 2, rule): nested deeper than 512"},
		"long rule":            {document(tableT, chainC, rule(long)), "a rule of 10485831 bytes, more than the 4194304"},
		"control in device":    {document(tableT, strings.Replace(chainC, `"prio"`, `"dev": "e\u001b", "prio"`, 1)), `a device name with a control character: e?`},
		"long device":          {document(tableT, strings.Replace(chainC, `"prio"`, `"dev": ["eth0", "abcdefghijklmnop"], "prio"`, 1)), `the device name abcdefghijklmnop is longer than 15 bytes`},
		"long device in rule":  {document(tableT, chainC, rule(`{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": {"set": ["abcdefghijklmnop"]}}}`)), `longer than 15 bytes`},
		"control in name":      {document(`{"table": {"family": "ip", "name": "a\nb"}}`), `"name" has a control character`},
		"number for a name":    {document(`{"table": {"family": "ip", "name": 1}}`), `"name": want a string, not a number`},
		"freed memory":         {document(`{"table": {"family": "ip", "name": "t", "flags": ["\u0013x"]}}`), `"?x" is no flag of a table: nft 1.0.6 prints freed memory`},
		"two kinds":            {document(`{"table": {}, "chain": {}}`), "want an object with one member"},
		"list command":         {document(`{"list": {"ruleset": null}}`), "does not make a ruleset"},
		"control in a string":  {"{\"nftables\": [{\"table\": {\"name\": \"a\x01\"}}]}", "a control character in a string"},
		"string not in UTF-8":  {"{\"nftables\": [{\"table\": {\"name\": \"a\xff\"}}]}", "not UTF-8"},
		"trailing comma":       {`{"nftables": [1,]}`, "a value should be here, not ']'"},
		"leading zero":         {`{"nftables": [01]}`, "a comma or a closing bracket should be here, not '1'"},
		"priority with a name": {document(tableT, strings.Replace(chainC, "-5", `"filter"`, 1)), `"prio": want an integer, not "filter"`},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ruleset.Decode([]byte(c.doc))
			var bad *ruleset.SyntaxError
			if !errors.As(err, &bad) || r != nil {
				t.Fatalf("got %v, %v; want a *SyntaxError", r, err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
				t.Errorf("control character in %q", err)
			}
		})
	}
}

// wrap makes commands of objects.
func wrap(verb string, objects ...string) []string {
	var out []string
	for _, o := range objects {
		out = append(out, fmt.Sprintf(`{"%s": %s}`, verb, o))
	}
	return out
}

func TestDecodeReadsCommands(t *testing.T) {
	doc := []string{`{"flush": {"ruleset": null}}`}
	doc = append(doc, wrap("add", tableT)...)
	doc = append(doc, wrap("delete", tableT)...)
	doc = append(doc, wrap("add", tableT, chainC, rule(`{"drop": null}`))...)
	doc = append(doc, wrap("insert", rule(`{"accept": null}`))...)
	doc = append(doc,
		`{"add": {"set": {"family": "inet", "table": "t", "name": "s", "type": "mark", "elem": [1]}}}`,
		`{"add": {"element": {"family": "inet", "table": "t", "name": "s", "elem": [2, 3]}}}`,
	)
	table := decode(t, document(doc...)).Tables[0]
	if diff := cmp.Diff([]ruleset.Expr{ruleset.Num(1), ruleset.Num(2), ruleset.Num(3)}, table.Sets[0].Elems); diff != "" {
		t.Error(diff)
	}
	rules := table.Chains[0].Rules
	if len(rules) != 2 || rules[0].Stmts[0] != (ruleset.Verdict{Kind: ruleset.Accept}) || rules[1].Index != 1 {
		t.Errorf("rules in the wrong order: %+v", rules)
	}
}

func TestDecodeFlushesAndDeletesWhatCameBefore(t *testing.T) {
	const set = `{"set": {"family": "inet", "table": "t", "name": "s", "type": "mark", "elem": [1]}}`
	build := wrap("add", tableT, chainC, set, rule(`{"drop": null}`))
	for command, want := range map[string]string{
		`{"destroy": {"table": {"family": "ip", "name": "none"}}}`:                    "1 tables, 1 rules, 1 elements",
		`{"flush": {"ruleset": {"family": "ip"}}}`:                                    "1 tables, 1 rules, 1 elements",
		`{"flush": {"ruleset": null}}`:                                                "0 tables, 0 rules, 0 elements",
		`{"delete": {"table": {"family": "inet", "name": "t"}}}`:                      "0 tables, 0 rules, 0 elements",
		`{"flush": {"table": {"family": "inet", "name": "t"}}}`:                       "1 tables, 0 rules, 1 elements",
		`{"flush": {"chain": {"family": "inet", "table": "t", "name": "c"}}}`:         "1 tables, 0 rules, 1 elements",
		`{"flush": {"set": {"family": "inet", "table": "t", "name": "s"}}}`:           "1 tables, 1 rules, 0 elements",
		`{"delete": {"table": {"family": "ip", "name": "none"}}}`:                     "there is no table ip none",
		`{"delete": {"chain": {"family": "inet", "table": "t", "name": "c"}}}`:        `the command "delete" of a chain is not understood`,
		`{"flush": {"chain": {"family": "inet", "table": "t", "name": "elsewhere"}}}`: "table inet t has no chain elsewhere",
	} {
		r, err := ruleset.Decode([]byte(document(append(build, command)...)))
		got := fmt.Sprint(err)
		if err == nil {
			rules, elems := 0, 0
			for _, table := range r.Tables {
				rules += len(table.Chains[0].Rules)
				elems += len(table.Sets[0].Elems)
			}
			got = fmt.Sprintf("%d tables, %d rules, %d elements", len(r.Tables), rules, elems)
		}
		if !strings.HasSuffix(got, want) {
			t.Errorf("%s: got %s, want %s", command, got, want)
		}
	}
}
