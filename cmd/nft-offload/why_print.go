package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nft-offload/nft-offload/internal/why"
)

func (e *env) printFlowAnswers(r flowAnswers) {
	for i, a := range r.Flows {
		if i > 0 {
			fmt.Fprintln(e.stdout)
		}
		e.printAnswer(a)
	}
	if r.More > 0 {
		fmt.Fprintf(e.stdout, "\nand %s of less traffic: --max %d\n", counted(r.More, "more flow"), r.More+len(r.Flows))
	}
	slow := false
	for _, a := range r.Flows {
		slow = slow || !a.Good && a.Stage != why.NoFlowAdd
	}
	if len(r.Packets) == 0 || !slow {
		return
	}
	var parts []string
	for _, c := range r.Packets {
		parts = append(parts, fmt.Sprintf("%s %s", number(c.Packets), c.Code))
	}
	fmt.Fprintln(e.stdout)
	wrap(e.stdout, "", fmt.Sprintf("Slow packets of all flows within %s for what they are themselves: %s.", span(time.Duration(r.Period)), strings.Join(parts, ", ")), e.width())
}

// printAnswer prints the sentence first, then what it rests on, then what to do.
func (e *env) printAnswer(a why.Answer) {
	color := e.bad
	if a.Good {
		color = e.good
	}
	code := string(a.Stage)
	if a.Reason != "" && a.Reason != code {
		code += ", " + a.Reason
	}
	fmt.Fprintf(e.stdout, "%s  [%s]\n", e.bold(a.Subject), color(code))
	wrap(e.stdout, "", a.Sentence, e.width())
	width := 0
	for _, l := range a.Evidence {
		width = max(width, utf8.RuneCountInString(l.What))
	}
	for _, l := range a.Evidence {
		wrap(e.stdout, fmt.Sprintf("  %-*s  ", width, l.What), l.Text, e.width())
	}
	for _, t := range a.Advice {
		wrap(e.stdout, "  > ", t, e.width())
	}
}
