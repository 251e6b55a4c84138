package eval_test

import (
	"hash/fnv"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// framesPerRuleset is how many frames meet one ruleset: enough that loading it is a small part of the time.
const framesPerRuleset = 512

// TestRandomRulesetsCountWhatTheKernelCounts sends random frames through random rulesets. EVAL_PACKETS=N sends at least
// N; EVAL_SEED=N is another run than that of every day, EVAL_SEED=new one that nobody has seen. A failure is shrunk to
// one frame and the rules it takes, and printed as txtar.
func TestRandomRulesetsCountWhatTheKernelCounts(t *testing.T) {
	packets, err := strconv.Atoi(env("EVAL_PACKETS", "200000"))
	if err != nil {
		t.Fatal(err)
	}
	seed := seedOf(t)
	l := newLab(t)
	for n := uint64(0); l.frameSent < packets && !t.Failed(); n++ {
		l.round(&random{rand.New(rand.NewPCG(seed, n)), l})
	}
	t.Logf("%d packets; of %d rulesets nft listed less than the kernel does", l.frameSent, l.lost)
}

func seedOf(t *testing.T) uint64 {
	s := env("EVAL_SEED", "1")
	if s == "new" {
		h := fnv.New64a()
		_, _ = h.Write([]byte(time.Now().String()))
		s = strconv.FormatUint(h.Sum64()%1e9, 10)
	}
	seed, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("EVAL_SEED=%d repeats this run", seed)
	return seed
}

// round is one ruleset and its frames.
func (l *lab) round(r *random) {
	text := r.ruleset()
	var fs []frame
	for range framesPerRuleset {
		fs = append(fs, r.frame())
	}
	text = l.accepted(text)
	d, err := l.check(text, fs)
	if err != nil {
		l.t.Fatal(err)
	}
	if len(d) == 0 {
		return
	}
	l.t.Logf("differs: %s", d[0])
	l.patience = 50 * time.Millisecond
	defer func() { l.patience = patience }()
	f, ok := l.guilty(text, fs)
	if !ok {
		l.t.Errorf("counters differed once and not again: %v\n%s", d, text)
		return
	}
	text = l.shrink(text, f)
	d, err = l.check(text, []frame{f})
	if why := l.unlisted(text, f); why != "" {
		l.lost++
		l.t.Logf("nft does not list the rules that are in the kernel: %s\n%s", why, l.describe(text, f, d))
		return
	}
	l.t.Errorf("%v%s", err, l.describe(text, f, d))
}

// unlisted says whether a difference is nft's: its listing, which is all that eval knows, may say less than the rules
// in the kernel do. Then the listing, loaded again, agrees with eval, or cannot be loaded at all.
func (l *lab) unlisted(text string, f frame) string {
	again, err := l.relist(text)
	if err != nil {
		return ""
	}
	d, err := l.check(again, []frame{f})
	switch {
	case err != nil:
		return err.Error()
	case len(d) == 0:
		return "its listing, loaded again, counts what eval counts"
	}
	return ""
}

// relist loads a ruleset and returns nft's listing of it.
func (l *lab) relist(text string) (string, error) {
	if _, err := l.load(text); err != nil {
		return "", err
	}
	return l.ns.Try("nft", "list", "ruleset")
}

// accepted leaves out the rules that nft refuses.
func (l *lab) accepted(text string) string {
	for range 50 {
		_, err := l.load(text)
		if err == nil {
			return text
		}
		m := regexp.MustCompile(`/dev/stdin:(\d+):`).FindAllStringSubmatch(err.Error(), -1)
		if m == nil {
			l.t.Fatalf("%v\n%s", err, text)
		}
		lines := strings.Split(text, "\n")
		for _, x := range m {
			n, _ := strconv.Atoi(x[1])
			if n -= 2; n < 0 || n >= len(lines) || !strings.Contains(lines[n], "counter") {
				l.t.Fatalf("%v\n%s", err, text)
			}
			lines[n] = "\t\tcounter"
		}
		text = strings.Join(lines, "\n")
	}
	l.t.Fatalf("nft refuses too many rules of\n%s", text)
	return ""
}

// guilty finds a frame that makes the difference by itself.
func (l *lab) guilty(text string, fs []frame) (frame, bool) {
	for len(fs) > 1 {
		half := fs[:len(fs)/2]
		d, err := l.check(text, half)
		if err != nil {
			l.t.Fatal(err)
		}
		if len(d) > 0 {
			fs = half
		} else {
			fs = fs[len(half):]
		}
	}
	d, err := l.check(text, fs)
	return fs[0], err == nil && len(d) > 0
}

// shrink takes away rules, and then everything else, as long as the difference stays.
func (l *lab) shrink(text string, f frame) string {
	try := func(pattern string) {
		for at := len(text); at > 0; {
			found := regexp.MustCompile(pattern).FindAllStringIndex(text[:at], -1)
			if found == nil {
				return
			}
			last := found[len(found)-1]
			less := text[:last[0]] + text[last[1]:]
			if d, err := l.check(less, []frame{f}); err == nil && len(d) > 0 {
				text = less
			}
			at = last[0]
		}
	}
	try(`(?m)^table [^}]*\n(\t[^}]*\n\t}\n)*}\n`)
	try(`(?m)^\t\t[^\n]*counter[^\n]*\n`)
	try(`(?m)^\t(set|map|chain) [^}]*(\}\n)?[^}]*\}\n`)
	return text
}
