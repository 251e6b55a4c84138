package rules

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// manyKeys is so many IPv4 addresses, or prefixes of 28 bits, in order.
func manyKeys(n int, ranges bool) *element.List {
	var l element.List
	for i := range n {
		e := element.Element{First: binary.BigEndian.AppendUint32(nil, uint32(i)<<8)}
		if ranges {
			e.Last = binary.BigEndian.AppendUint32(nil, uint32(i)<<8|15)
		}
		l.Add(e)
	}
	return &l
}

func benchmarkSets(b *testing.B, f func(b *testing.B, s share.Set, n int)) {
	testkit.Need(b, testkit.BPF)
	for _, ranges := range []bool{false, true} {
		for _, n := range []int{10, 1000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("ranges=%v/%d", ranges, n), func(b *testing.B) {
				f(b, share.Set{Name: "s", Parts: parts(32), Ranges: ranges}, n)
			})
		}
	}
}

// What a set costs when a program with it is first loaded: time, and memory of this process while it is.
func BenchmarkContents_FirstFill(b *testing.B) {
	benchmarkSets(b, func(b *testing.B, s share.Set, n int) {
		list := manyKeys(n, s.Ranges)
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			c, err := NewContents(s, newSetMap(b, s, n), func(err error) { b.Error(err) })
			if err != nil {
				b.Fatal(err)
			}
			runtime.GC()
			b.StartTimer()
			if err := c.Replace(list); err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*b.N), "ns/element")
	})
}

// What one element of many costs, in and out again.
func BenchmarkContents_OneElement(b *testing.B) {
	benchmarkSets(b, func(b *testing.B, s share.Set, n int) {
		c, err := NewContents(s, newSetMap(b, s, n+10), func(err error) { b.Error(err) })
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		if err := c.Replace(manyKeys(n, s.Ranges)); err != nil {
			b.Fatal(err)
		}
		var l element.List
		l.Add(element.Element{First: []byte{0, 0, 2, 200}})
		if s.Ranges {
			l.Add(element.Element{First: []byte{0, 0, 2, 210}, End: true})
		}
		b.ReportAllocs()
		for b.Loop() {
			if err := c.Apply(element.Change{Added: l}); err != nil {
				b.Fatal(err)
			}
			if err := c.Apply(element.Change{Deleted: l}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
