package rules_test

import (
	"errors"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// liveFrames is how many frames of a ruleset are sent for real, each twice: with a program in front, and without.
const liveFrames = 120

// TestRandomRulesRunEarlyAsNFTablesRunsThem puts random frames through random ingress chains. RULES_PACKETS=N makes at
// least N packet evaluations; RULES_SEED=N is another run than that of every day, RULES_SEED=new one that nobody has
// seen. RULES_FRAMES=N is how many of them a program meets: the fewer, the more rulesets, and the slower. A failure is
// shrunk to one frame and the rules it takes, and printed as txtar.
func TestRandomRulesRunEarlyAsNFTablesRunsThem(t *testing.T) {
	packets, err := strconv.Atoi(env("RULES_PACKETS", "1000000"))
	if err != nil {
		t.Fatal(err)
	}
	frames, err := strconv.Atoi(env("RULES_FRAMES", "2500"))
	if err != nil {
		t.Fatal(err)
	}
	seed := seedOf(t)
	l := newLab(t)
	p := newProof(t, l)
	start, failures := time.Now(), 0
	for n := uint64(0); p.all() < packets && failures < 3; n++ {
		f, err := p.round(newRandom(seed, n), frames)
		if err != nil {
			t.Fatalf("round %d: %v", n, err)
		}
		if f != nil && p.failed(t, n, f) {
			failures++
		}
	}
	p.report(t, time.Since(start))
	for _, hook := range hooks() {
		for _, m := range p.tallies[hook].missed() {
			t.Errorf("%s: %s", hook, m)
		}
	}
}

// TestLongChainsRunEarlyAsNFTablesRunsThem is for programs of several parts, and for long runs of rules.
func TestLongChainsRunEarlyAsNFTablesRunsThem(t *testing.T) {
	const rounds, frames, size = 2, 1000, 160
	seed := seedOf(t)
	l := newLab(t)
	p := newProof(t, l)
	start := time.Now()
	for n := range uint64(rounds) {
		r := newRandom(seed, 2<<32+n)
		r.size = size
		f, err := p.round(r, frames)
		if err != nil {
			t.Fatalf("round %d: %v", n, err)
		}
		if f != nil {
			p.failed(t, n, f)
		}
	}
	p.report(t, time.Since(start))
}

// failed says what is wrong, as little as it takes, and reports whether that is not nft's own fault.
func (p *proof) failed(t testing.TB, round uint64, f *failure) bool {
	first := f.String()
	f = p.shrunk(f)
	if why := p.nftsOwn(f); why != "" {
		p.unlisted++
		t.Logf("round %d: nft does not list the rules that are in the kernel: %s\n%s", round, why, f.text)
		return false
	}
	t.Errorf("round %d: %s\n%s", round, first, p.describe(f))
	return true
}

func seedOf(t testing.TB) uint64 {
	s := env("RULES_SEED", "1")
	if s == "new" {
		h := fnv.New64a()
		_, _ = h.Write([]byte(time.Now().String()))
		s = strconv.FormatUint(h.Sum64()%1e9, 10)
	}
	seed, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("RULES_SEED=%d repeats this run", seed)
	return seed
}

// all is how many packets were evaluated and compared.
func (p *proof) all() int {
	return p.evaluations[0] + p.evaluations[1] + p.nftAlone + p.live[0] + p.live[1]
}

// round is one ruleset and its frames.
func (p *proof) round(r *random, frames int) (*failure, error) {
	text, rs, err := p.lab.accepted(r.ruleset())
	if err != nil && strings.Contains(err.Error(), "signal: aborted") {
		p.refused["nft aborts: "+strings.TrimSpace(err.Error()[strings.LastIndex(err.Error(), "nft:"):])]++
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d := p.concerned(r, rs)
	live := pick(r, hooks()...)
	f, err := p.alive(text, d, live, r.frames(d, liveFrames), patience)
	if errors.Is(err, errMissing) {
		p.refused[err.Error()]++
		return nil, nil
	}
	if f != nil || err != nil {
		return f, err
	}
	for _, hook := range hooks() {
		if f, err := p.early(text, rs, d, hook, r.frames(d, frames)); f != nil || err != nil {
			return f, err
		}
	}
	return p.changing(text, d, live, r)
}

// concerned is a device that has chains.
func (p *proof) concerned(r *random, rs *ruleset.Ruleset) *device {
	var names []string
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			if c.Base != nil {
				names = append(names, c.Base.Devices...)
			}
		}
	}
	name := pick(r, names...)
	return p.lab.in[slices.IndexFunc(p.lab.in, func(d *device) bool { return d.Name == name })]
}

// report says what was compared.
func (p *proof) report(t testing.TB, took time.Duration) {
	t.Logf("%d packets in %v, %d a second: %d at XDP, %d at tc, %d live through nftables alone, %d live with a program at XDP, %d at tc",
		p.all(), took.Round(time.Second), int(float64(p.all())/took.Seconds()), p.evaluations[0], p.evaluations[1], p.nftAlone, p.live[0], p.live[1])
	t.Logf("%d programs at XDP and %d at tc; nothing to run early %d and %d times; %d changes of sets; of %d rulesets nft listed less than the kernel does",
		p.loaded[0], p.loaded[1], p.nothing[0], p.nothing[1], p.changes, p.unlisted)
	t.Logf("the largest programs: %d entries, %d programs in a row, %d rules in one step", p.entries, p.chunks, p.merged)
	for why, n := range p.refused {
		t.Logf("not compiled, %d times: %s", n, why)
	}
	for _, hook := range hooks() {
		t.Logf("%s: %d of the %d frames that nftables ends were ended early:\n%s", hook, p.endedEarly[hook], p.ended[hook], p.tallies[hook])
	}
}
