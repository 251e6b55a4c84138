package corpus

import (
	"context"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// TestTextReadInAScratchNamespaceIsTheRuleset reads each text listing as `plan FILE.nft` does, and holds the text of the
// values against it: all that the JSON of nft 1.0.6 leaves out is there. What iptables made is a translation in the text
// and need not come back.
func TestTextReadInAScratchNamespaceIsTheRuleset(t *testing.T) {
	each(t, func(t *testing.T, f file) {
		testkit.Need(t, testkit.Netns, testkit.NFT)
		if here := testkit.NewNS(t, "version").Run("nft", "-j", "list", "ruleset"); version(t, f.json) != version(t, []byte(here)) {
			return // other words
		}
		r, err := nft.Read(context.Background(), filepath.Join(dir, f.name+".nft"), strings.NewReader(""))
		if foreign(f) && err != nil && strings.Contains(err.Error(), "use iptables-nft") {
			return // nft has no words for a match or target
		}
		if err != nil {
			t.Fatal(err)
		}
		walk(reflect.ValueOf(r), func(v reflect.Value) {
			if x, ok := reflect.TypeAssert[ruleset.Opaque](v); ok {
				t.Errorf("opaque %s", x.Raw)
			}
		})
		if d := diff(settled(r.String()), settled(string(f.text))); d != "" && !foreign(f) {
			t.Error(d)
		}
	})
}

// settled are the lines of a listing as they are told apart: each list of elements on one line, and without what has
// been counted. They are sorted, for inside a set or a flowtable their order says nothing; that of rules is
// TestTextIsWhatNftWrites's.
func settled(text string) []string {
	text = regexp.MustCompile(`,\n\s+`).ReplaceAllString(text, ", ")
	text = regexp.MustCompile(`(packets|bytes|used) \d+`).ReplaceAllString(text, "$1 0")
	text = regexp.MustCompile(` expires \w+`).ReplaceAllString(text, "")
	// nft 1.1.3 names priorities at the output hook, which 1.0.6 does not read.
	text = strings.NewReplacer("output priority dstnat + 10", "output priority -90", "output priority dstnat", "output priority -100").Replace(text)
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(strings.Join(strings.Fields(line), " "), " # progname ")
		switch {
		case line == "":
			continue
		case strings.HasPrefix(line, "flags "):
			line = strings.ReplaceAll(line, "timeout,dynamic", "dynamic,timeout")
			line = strings.Replace(line, "owner,", "", 1) // the owner is the program that loaded it
		case strings.Contains(line, "devices = "):
			line = strings.ReplaceAll(line, `"`, "")
		case strings.HasPrefix(line, "over "): // a quota
			line = strings.TrimSuffix(strings.ReplaceAll(line, "20480 mbytes", "21474836480 bytes"), " used 0 bytes")
		}
		out = append(out, spelled(line))
	}
	slices.Sort(out)
	return out
}
