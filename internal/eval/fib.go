package eval

import (
	"strings"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// fib compiles a routing lookup. Its results are facts of the packet: the evaluator knows no routes.
func fib(e ruleset.FIB) operand {
	question := strings.Join(e.Flags, " . ") + " " + e.Result
	d, _ := typeOf("iface_index")
	switch e.Result {
	case "type":
		d, _ = typeOf("fib_addrtype")
	case "oifname":
		d, _ = typeOf("ifname")
	case "check":
		d = boolean()
	}
	return one(func(r *run) ([]byte, status) {
		answer, ok := r.p.FIB[question]
		if !ok {
			return nil, r.missing(FactRouting, "fib "+question)
		}
		switch e.Result {
		case "oifname":
			return name(answer, d.bytes()).lo, known
		case "type":
			n, ok := symbol(d, answer)
			if !ok {
				n, _ = number(answer)
			}
			return uintBytes(n, d.bytes()), known
		}
		if answer == "" {
			return uintBytes(0, d.bytes()), known
		}
		if e.Result == "check" {
			return uintBytes(1, d.bytes()), known
		}
		return uintBytes(uint64(r.e.index(answer)), d.bytes()), known
	}, d)
}
