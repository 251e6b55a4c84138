package bench

import (
	"context"
	_ "embed" // the ruleset
	"errors"
	"strings"

	"github.com/nft-offload/nft-offload/internal/nft"
)

// routerRuleset is examples/router.nft: what the benchmark and the demo measure.
//
//go:embed router.nft
var routerRuleset string

// errNoLabels says that the lowered ruleset marks no flow, so that nothing could become fast.
var errNoLabels = errors.New("load examples/router.nft: the lowered ruleset sets no conntrack label")

// loadRouter loads the ruleset, lowered, into the namespace of the calling thread and returns the labels of its
// flowtable. Lowered on every kernel: so the slow path is the slow path, and not the kernel's flowtable.
func loadRouter(ctx context.Context) (labels [2]uint64, err error) {
	r, err := nft.Load(ctx, "-", nft.Options{Lower: true, Stdin: strings.NewReader(routerRuleset)})
	if err != nil {
		return labels, err
	}
	for _, f := range r.Flowtables {
		labels = f.Labels
	}
	if labels == [2]uint64{} {
		return labels, errNoLabels
	}
	return labels, nil
}
