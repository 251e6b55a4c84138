package vm

import (
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

func TestMatrixHasARowAFeatureAndAColumnAKernel(t *testing.T) {
	got, err := Matrix([]Proof{
		{"6.1", []testkit.Feature{{Section: "Paths", Name: "b", Result: "fast (tc)"}, {Section: "Paths", Name: "a", Result: "slow: vlan"}}},
		{"6.12", []testkit.Feature{{Section: "More", Name: "x", Result: "yes"}, {Section: "Paths", Name: "b", Result: "fast (tc)"}, {Section: "Paths", Name: "b", Result: "fast (tc)"}}},
	})
	want := `
## Paths

| | 6.1 | 6.12 |
|---|---|---|
| a | slow: vlan | - |
| b | fast (tc) | fast (tc) |

## More

| | 6.1 | 6.12 |
|---|---|---|
| x | - | yes |
`
	if err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
	_, err = Matrix([]Proof{{"6.1", []testkit.Feature{{Section: "Paths", Name: "b", Result: "fast"}, {Section: "Paths", Name: "b", Result: "slow"}}}})
	if err == nil || !strings.Contains(err.Error(), `both "fast" and "slow"`) {
		t.Errorf("two results of one feature: %v", err)
	}
}
