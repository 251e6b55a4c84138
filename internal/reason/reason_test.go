package reason_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/reason"
)

func TestEveryReasonIsDescribed(t *testing.T) {
	kebab := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	seen := map[string]reason.Reason{}
	for _, r := range reason.All() {
		i := r.Info()
		if !kebab.MatchString(i.Code) {
			t.Errorf("reason %d: code %q is not kebab-case", r, i.Code)
		}
		if other, dup := seen[i.Code]; dup {
			t.Errorf("reasons %d and %d have the code %q", other, r, i.Code)
		}
		seen[i.Code] = r
		for what, s := range map[string]string{"text": i.Text, "remedy": i.Remedy, "source": i.Source} {
			if s == "" || strings.HasSuffix(s, ".") || strings.TrimSpace(s) != s {
				t.Errorf("%s: %s %q", i.Code, what, s)
			}
		}
		if r.Scope() == 0 {
			t.Errorf("%s: no scope", i.Code)
		}
	}
}

func TestScopesCoverAllReasonsInOrder(t *testing.T) {
	n := 0
	all := reason.All()
	for _, s := range reason.Scopes() {
		of := reason.Of(s)
		if len(of) == 0 || s.String() == "unknown" {
			t.Errorf("scope %d (%s) has %d reasons", s, s, len(of))
		}
		for _, r := range of {
			if all[n] != r {
				t.Fatalf("reason %s at place %d, want %s", r, n, all[n])
			}
			n++
		}
	}
	if n != len(all) {
		t.Errorf("scopes have %d reasons of %d", n, len(all))
	}
	if s := reason.Scope(99).String(); s != "unknown" {
		t.Errorf("scope 99: %q", s)
	}
}

func TestCodesAreReadBack(t *testing.T) {
	for _, r := range append(reason.All(), reason.None) {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var got reason.Reason
		if err := json.Unmarshal(b, &got); err != nil || got != r {
			t.Errorf("%s: %s, %v", b, got, err)
		}
	}
	var r reason.Reason
	if err := json.Unmarshal([]byte(`"no-such-reason"`), &r); err == nil {
		t.Errorf("an unknown code is read as %s", r)
	}
	if got := reason.Unknown.String(); got != "unknown" {
		t.Errorf("a number that is no reason: %q", got)
	}
}
