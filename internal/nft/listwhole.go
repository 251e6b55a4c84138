package nft

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// ListWhole reads the live ruleset, both as the flow fast path needs it and whole, but for the elements of named sets: a
// set may have a million. Sets that stand for a lowered flowtable have theirs. Rules that the kernel executes otherwise are
// marked; the comparison is to be the same each time. With a *ComparisonError there are rulesets, too.
func ListWhole(ctx context.Context, c *Comparison) (handover.Ruleset, *ruleset.Ruleset, error) {
	codes := askCodes(ctx)
	defer codes.close()
	l, err := listBoth(ctx, "-j", "-t", "list", "ruleset")
	if err != nil {
		return handover.Ruleset{}, nil, err
	}
	if l.json, err = withLowered(ctx, l.json); err != nil {
		return handover.Ruleset{}, nil, fmt.Errorf("read ruleset: %w", err)
	}
	var rs *ruleset.Ruleset
	whole := make(chan error, 1)
	go func() { // of 10,000 rules, either takes a tenth of a second
		var err error
		if rs, err = l.ruleset(); err == nil {
			err = c.mark(ctx, rs, codes)
		}
		whole <- err
	}()
	h, err := handover.Decode(l.json)
	if err == nil {
		err = complete(&h)
	}
	wrong := cmp.Or(err, <-whole)
	if _, marked := errors.AsType[*ComparisonError](wrong); wrong != nil && !marked {
		return handover.Ruleset{}, nil, fmt.Errorf("read ruleset: %w", wrong)
	}
	return h, rs, wrong
}

// withLowered puts the sets that stand for flowtables into a listing with their elements.
func withLowered(ctx context.Context, doc []byte) ([]byte, error) {
	if !strings.Contains(string(doc), handover.LoweredComment) {
		return doc, nil
	}
	var all struct {
		Objects []map[string]json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal(doc, &all); err != nil {
		return nil, fmt.Errorf("decode what nft lists: %w", err)
	}
	for _, o := range all.Objects {
		var set struct{ Family, Table, Name, Comment string }
		if json.Unmarshal(o["set"], &set) != nil || !strings.HasPrefix(set.Comment, handover.LoweredComment) {
			continue
		}
		one, err := run(ctx, "list", "", "", "-j", "list", "set", set.Family, set.Table, set.Name)
		if err != nil {
			return nil, err
		}
		var whole struct {
			Objects []map[string]json.RawMessage `json:"nftables"`
		}
		if err := json.Unmarshal(one, &whole); err != nil {
			return nil, fmt.Errorf("decode what nft lists of set %s: %w", set.Name, err)
		}
		for _, w := range whole.Objects {
			if s, ok := w["set"]; ok {
				o["set"] = s
			}
		}
	}
	return json.Marshal(struct {
		Objects []map[string]json.RawMessage `json:"nftables"`
	}{all.Objects})
}
