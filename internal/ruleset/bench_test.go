package ruleset_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// large is a listing with a chain of n rules or a set of n elements.
func large(kind string, n int) string {
	objects := []string{tableT, chainC}
	if kind == "rules" {
		for i := range n {
			objects = append(objects, rule(fmt.Sprintf(`{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, `+
				`"right": {"prefix": {"addr": "10.%d.%d.0", "len": 24}}}}, {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", `+
				`"field": "dport"}}, "right": {"set": [22, 80, {"range": [1000, %d]}]}}}, {"counter": {"packets": 0, "bytes": 0}}, {"accept": null}`,
				i/256%256, i%256, 1001+i%5000)))
		}
		return document(objects...)
	}
	var elems []string
	for i := range n {
		elems = append(elems, fmt.Sprintf(`{"prefix": {"addr": "%d.%d.%d.0", "len": 24}}`, 1+i>>16, i>>8&255, i&255))
	}
	set := fmt.Sprintf(`{"set": {"family": "inet", "name": "s", "table": "t", "type": "ipv4_addr", "handle": 4, "flags": ["interval"], "elem": [%s]}}`,
		strings.Join(elems, ", "))
	return document(append(objects, set)...)
}

func BenchmarkDecode(b *testing.B) {
	for _, kind := range []string{"rules", "elements"} {
		for _, n := range []int{1_000, 10_000, 100_000} {
			doc := []byte(large(kind, n))
			b.Run(fmt.Sprintf("%s=%d", kind, n), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(doc)))
				for b.Loop() {
					if _, err := ruleset.Decode(doc); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/item")
			})
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		r := decode(b, large("elements", n))
		b.Run(fmt.Sprintf("elements=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ruleset.Encode(r, ruleset.EncodeOptions{})
			}
		})
	}
}

// TestDecodeAllocatesInProportion keeps Decode linear without a clock: ten times the elements take about ten times the
// allocations.
func TestDecodeAllocatesInProportion(t *testing.T) {
	for _, kind := range []string{"rules", "elements"} {
		small, big := []byte(large(kind, 1_000)), []byte(large(kind, 10_000))
		count := func(doc []byte) float64 {
			return testing.AllocsPerRun(3, func() {
				if _, err := ruleset.Decode(doc); err != nil {
					t.Fatal(err)
				}
			})
		}
		if a, b := count(small), count(big); b > 11*a {
			t.Errorf("%s: %.0f allocations for 1000, %.0f for 10000", kind, a, b)
		}
	}
}
