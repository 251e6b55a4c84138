package main

import (
	"fmt"
	"time"

	"github.com/nft-offload/nft-offload/internal/api"
	"github.com/nft-offload/nft-offload/internal/engine"
)

func (e *env) showRefused(c *api.Client, f engine.Filter, asJSON bool) error {
	refused, err := c.Refused(e.ctx, f)
	if err != nil {
		return e.noDaemon(err)
	}
	if asJSON {
		return e.printJSON(refused)
	}
	e.printRefused(refused)
	return nil
}

// printRefused takes a few lines a flow: what it is, why it is slow, what to do.
func (e *env) printRefused(refused []engine.Refused) {
	for _, r := range refused {
		fmt.Fprintf(e.stdout, "%s %s > %s\n", e.bold(r.Proto), r.Src, r.Dst)
		fmt.Fprintf(e.stdout, "    %s > %s  %s  seen %s ago, %s\n", device(r.In, r.InIndex), device(r.Out, r.OutIndex),
			e.bad(r.Code), span(time.Duration(r.Ago)), counted(int(r.Samples), "sample"))
		text := r.Text
		if r.Advice != "" {
			text += "; " + r.Advice
		}
		wrap(e.stdout, "    ", text, e.width())
	}
	if len(refused) == 0 {
		fmt.Fprintln(e.stdout, "no flow that was handed over is refused")
	}
}
