package lint_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// listed has nft turn a ruleset into its JSON, one object a line. A kernel without flowtables must do: a `flow add` goes
// in as a log statement and comes out as itself.
func listed(t *testing.T, text string) string {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.NFT)
	ns := testkit.NewNS(t, "lint")
	tables := flowtables(text)
	text = flowtableBlock().ReplaceAllString(text, "")
	text = regexp.MustCompile(`flow add @(\S+)`).ReplaceAllString(text, `log prefix "flow add @$1"`)
	file := filepath.Join(t.TempDir(), "ruleset.nft")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ns.Run("nft", "-f", file)
	var doc struct {
		Nftables []map[string]json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(ns.Run("nft", "-j", "list", "ruleset")), &doc); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("{\"nftables\": [\n")
	for i, obj := range doc.Nftables {
		one, err := json.Marshal(obj)
		if err != nil {
			t.Fatal(err)
		}
		one = regexp.MustCompile(`\{"log": ?\{"prefix": ?"flow add (@[^"]*)"\}\}`).ReplaceAll(one, []byte(`{"flow":{"op":"add","flowtable":"$1"}}`))
		b.Write(bytes.TrimSpace(one))
		var table struct{ Family, Name string }
		if raw, ok := obj["table"]; ok {
			if err := json.Unmarshal(raw, &table); err != nil {
				t.Fatal(err)
			}
			for _, f := range tables[table.Family+" "+table.Name] {
				b.WriteString(",\n" + f)
			}
		}
		if i < len(doc.Nftables)-1 {
			b.WriteString(",")
		}
		b.WriteString("\n")
	}
	b.WriteString("]}\n")
	return b.String()
}

func flowtableBlock() *regexp.Regexp {
	return regexp.MustCompile(`flowtable\s+(\S+)\s*\{([^{}]*(?:\{[^{}]*\}[^{}]*)?)\}`)
}

// flowtables finds the flowtables of a ruleset's text, by family and name of their table, as nft lists them.
func flowtables(text string) map[string][]string {
	out := map[string][]string{}
	for _, part := range regexp.MustCompile(`(?m)^table`).Split(text, -1)[1:] {
		head := strings.Fields(part)
		for i, m := range flowtableBlock().FindAllStringSubmatch(part, -1) {
			priority, devices := "0", ""
			if p := regexp.MustCompile(`priority (?:filter|(-?\d+))`).FindStringSubmatch(m[2]); p != nil && p[1] != "" {
				priority = p[1]
			}
			if d := regexp.MustCompile(`devices = \{([^}]*)\}`).FindStringSubmatch(m[2]); d != nil {
				names, _ := json.Marshal(strings.FieldsFunc(d[1], func(r rune) bool { return strings.ContainsRune(" ,\"\n\t", r) }))
				devices = `,"dev":` + string(names)
			}
			flags := ""
			if f := regexp.MustCompile(`flags ([a-z, ]+);`).FindStringSubmatch(m[2]); f != nil {
				list, _ := json.Marshal(strings.FieldsFunc(f[1], func(r rune) bool { return r == ',' || r == ' ' }))
				flags = `,"flags":` + string(list)
			}
			key := head[0] + " " + head[1]
			out[key] = append(out[key], fmt.Sprintf(
				`{"flowtable":{"family":%q,"name":%q,"table":%q,"handle":%d,"hook":"ingress","prio":%s%s%s}}`,
				head[0], m[1], head[1], 1000+i, priority, devices, flags))
		}
	}
	return out
}
