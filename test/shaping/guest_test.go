//go:build guest

package shaping

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/engine"
)

// stockShapers are what a distribution's kernel has besides.
func stockShapers() []shaper {
	return []shaper{
		{"cake", "qdisc add dev r1 root cake bandwidth 4mbit"},
		{"htb with fq_codel", `qdisc add dev r1 root handle 1: htb default 1
class add dev r1 parent 1: classid 1:1 htb rate 4mbit quantum 1514
qdisc add dev r1 parent 1:1 handle 11: fq_codel`},
		{"hfsc", `qdisc add dev r1 root handle 1: hfsc default 1
class add dev r1 parent 1: classid 1:1 hfsc sc rate 4mbit ul rate 4mbit
qdisc add dev r1 parent 1:1 handle 11: pfifo limit 50`},
		{"fq with maxrate", "qdisc add dev r1 root fq maxrate 4mbit flow_limit 50"},
	}
}

func TestRateIsThatOfTheSlowPathOnAStockKernel(t *testing.T) {
	for _, s := range append(shapers(), stockShapers()...) {
		t.Run(s.name, func(t *testing.T) { compareRates(t, s, engine.TC) })
	}
}
