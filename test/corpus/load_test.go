package corpus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// written are the rulesets that a person wrote, after what a tool's documentation shows. UPDATE_CORPUS=1 lists them anew.
func written() []string {
	return []string{"ddos-netdev", "kube-proxy", "multiwan", "openwrt-fw4", "pppoe-home", "vlan-router", "vyos-flowtable"}
}

// document puts the lines back into one document.
func document(lines []string) string {
	return "{\"nftables\": [\n" + strings.Join(lines, ",\n") + "\n]}\n"
}

// split makes one line of each object that nft printed.
func split(t testing.TB, doc string) []string {
	t.Helper()
	var top struct {
		Nftables []json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(doc), &top); err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(top.Nftables))
	for i, o := range top.Nftables {
		out[i] = string(o)
	}
	return out
}

// namespace makes one with the devices that a listing cannot be loaded without.
func namespace(t *testing.T, text string) *testkit.NS {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.NFT)
	ns := testkit.NewNS(t, "corpus")
	for i, d := range devices(text) {
		ns.Run("ip", "link", "add", d, "type", "veth", "peer", "name", "peer"+strconv.Itoa(i))
	}
	return ns
}

// devices names what a listing refers to by index: hooks' devices, `iif`, `oif`, and where `fwd` and `dup` send.
// Names that rules compare as strings need no device.
func devices(text string) []string {
	at := regexp.MustCompile(`\b(?:devices? =? ?|iif |oif |fwd to |dup to )(\{[^}]*\}|"[^"]+")`)
	name := regexp.MustCompile(`"([^"]+)"|([\w.-]+)`)
	var out []string
	for _, m := range at.FindAllStringSubmatch(text, -1) {
		for _, n := range name.FindAllStringSubmatch(m[1], -1) {
			if d := n[1] + n[2]; d != "lo" && !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	return out
}

// version is the nft that made a listing.
func version(t testing.TB, doc []byte) string {
	t.Helper()
	for _, o := range objects(t, doc) {
		if o.kind == "metainfo" {
			return fmt.Sprint(o.fields["version"])
		}
	}
	return ""
}

// foreign reports whether a ruleset has matches and targets of iptables, which nft lists and does not load.
func foreign(f file) bool { return bytes.Contains(f.json, []byte(`{"xt": `)) }

// TestTextAndJSONAreTheSameRuleset loads each text listing and compares what nft then lists with the JSON.
func TestTextAndJSONAreTheSameRuleset(t *testing.T) {
	each(t, func(t *testing.T, f file) {
		if foreign(f) {
			return // nft says so itself: "managed by iptables-nft, do not touch"
		}
		text, fts := cut(string(f.text))
		ns := namespace(t, text)
		empty := ns.Run("nft", "-j", "list", "ruleset")
		if was, is := version(t, f.json), version(t, []byte(empty)); was != "" && was != is {
			t.Logf("listed by nft %s; nft %s here writes other words", was, is)
			return
		}
		ns.NFTables(strings.Replace(text, "\tflags owner,persist\n", "", 1))
		lines := mendJSON(t, split(t, ns.Run("nft", "-j", "list", "ruleset")), fts)
		if os.Getenv(updateEnv) != "" && slices.Contains(written(), f.name) {
			golden(t, filepath.Join(dir, f.name+".json"), document(lines))
			golden(t, filepath.Join(dir, f.name+".nft"), mendText(ns.Run("nft", "list", "ruleset"), fts))
			return
		}
		if d := diff(stable(t, []byte(document(lines))), stable(t, f.json)); d != "" {
			t.Error(d)
		}
	})
}
