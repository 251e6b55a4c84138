package rules_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/datapath/rules"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// proof is what all rounds share, and what they found.
type proof struct {
	lab        *lab
	programs   *rules.Programs
	stands     map[standKey]*stand
	generation int
	strict     bool // everything has to compile
	// What was compared: frames evaluated by programs, by hook; live frames with nftables alone and with a program.
	evaluations [2]int
	nftAlone    int
	live        [2]int
	tallies     [2]tally
	ended       [2]int // frames that nftables ends
	endedEarly  [2]int // and those of them that the program ended
	loaded      [2]int // programs
	// The largest programs: entries of the share, programs in a row, rules that are one lookup.
	entries, chunks, merged int
	nothing                 [2]int         // rulesets of which nothing runs early
	refused                 map[string]int // why rulesets were not compiled
	unlisted                int            // rulesets that nft lists otherwise than the kernel has them
	changes                 int            // of the elements of sets, while a program ran
}

type standKey struct {
	device string
	hook   share.Hook
}

func newProof(t testing.TB, l *lab) *proof {
	dir := filepath.Join("/sys/fs/bpf", fmt.Sprintf("nfo-rulesdiff-%d", os.Getpid()))
	programs, err := rules.Open(dir, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	p := &proof{lab: l, programs: programs, stands: map[standKey]*stand{}, tallies: [2]tally{{}, {}}, refused: map[string]int{}}
	t.Cleanup(func() {
		err := programs.Close()
		for _, s := range p.stands {
			err = errors.Join(err, s.close())
		}
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	for _, d := range l.in {
		for _, hook := range hooks() {
			s, err := newStand(hook == share.TC, d.Index)
			if err != nil {
				t.Fatal(err)
			}
			p.stands[standKey{d.Name, hook}] = s
		}
	}
	return p
}

// stageNFT is the stage without programs.
const stageNFT = "nft"

// shortWait is patience with what has failed before.
const shortWait = 50 * time.Millisecond

func hooks() []share.Hook { return []share.Hook{share.XDP, share.TC} }

// failure is a difference, and how to see it again.
type failure struct {
	stage  string // "nft", "xdp", "tc", "live xdp", "live tc"
	d      *device
	wrong  []string
	text   string
	frames [][]byte
}

func (f *failure) String() string {
	return fmt.Sprintf("%s on %s: %v", f.stage, f.d.Name, f.wrong[:min(len(f.wrong), 4)])
}

// early compares the program of a device with package eval. A nil failure is a success.
func (p *proof) early(text string, rs *ruleset.Ruleset, d *device, hook share.Hook, frames [][]byte) (*failure, error) {
	fail := func(frames [][]byte, wrong ...string) *failure {
		return &failure{stage: hook.String(), d: d, wrong: wrong, text: text, frames: frames}
	}
	e, err := p.load(rs, d, hook)
	var refused *rules.RefusedError
	switch {
	case errors.Is(err, errNothing):
		p.nothing[hook]++
		return nil, nil
	case errors.As(err, &refused):
		return fail(frames[:1], fmt.Sprintf("%v", err)), nil
	case err != nil && p.strict:
		return fail(frames[:1], err.Error()), nil
	case err != nil:
		p.refuse(err)
		return nil, nil
	}
	p.loaded[hook]++
	p.entries, p.chunks = max(p.entries, len(e.share.Entries)), max(p.chunks, len(e.made.Chunks))
	for _, s := range e.made.Steps {
		p.merged = max(p.merged, len(s.Rules))
	}
	var j judged
	err = p.lab.ns.Do(func() (err error) {
		j, err = p.judge(e, p.lab.oracle(rs, d), frames)
		return err
	})
	if err = errors.Join(err, e.end()); err != nil {
		return nil, err
	}
	switch {
	case len(j.wrong) == 0:
		return nil, nil
	case j.frame != nil:
		return fail([][]byte{j.frame}, j.wrong...), nil
	}
	return fail(frames, j.wrong...), nil
}

// refuse counts why a ruleset was not compiled, without the numbers and names in the text.
func (p *proof) refuse(err error) {
	p.refused[regexp.MustCompile(`\d+|set \w+`).ReplaceAllString(err.Error(), "_")]++
}

// again repeats the stage of a failure with other rules or frames.
func (p *proof) again(f *failure, text string, frames [][]byte) (*failure, error) {
	rs, err := p.lab.load(text)
	if err != nil {
		return nil, err
	}
	hook := share.XDP
	if strings.HasSuffix(f.stage, share.TC.String()) {
		hook = share.TC
	}
	switch {
	case f.stage == stageNFT:
		wrong, err := p.lab.nft(f.d, text, rs, frames, shortWait)
		if err != nil || len(wrong) == 0 {
			return nil, err
		}
		return &failure{stage: f.stage, d: f.d, wrong: wrong, text: text, frames: frames}, nil
	case strings.HasPrefix(f.stage, "live "):
		return p.alive(text, f.d, hook, frames, shortWait)
	case f.stage == hook.String():
		return p.early(text, rs, f.d, hook, frames)
	}
	return nil, fmt.Errorf("stage %s cannot be repeated", f.stage)
}

// shrunk is a failure with as little as it takes.
func (p *proof) shrunk(f *failure) *failure {
	least := f
	p.lab.shrink(f.text, f.frames, func(text string, frames [][]byte) bool {
		g, err := p.again(f, text, frames)
		if err != nil || g == nil {
			return false
		}
		least = g
		return true
	})
	return least
}

// nftsOwn says whether a difference is nft's: its listing, which is all that anybody else knows, may say less than the
// rules in the kernel do. Then the listing, loaded again, counts what eval says, or cannot be loaded at all.
func (p *proof) nftsOwn(f *failure) string {
	if f.stage != stageNFT {
		return ""
	}
	if _, err := p.lab.load(f.text); err != nil {
		return ""
	}
	listing, err := p.lab.ns.Try("nft", "list", "ruleset")
	if err != nil {
		return ""
	}
	listing, _, _ = cutQuiet(listing)
	g, err := p.again(f, listing, f.frames)
	switch {
	case err != nil:
		return err.Error()
	case g == nil:
		return "its listing, loaded again, counts what eval counts"
	}
	return ""
}
