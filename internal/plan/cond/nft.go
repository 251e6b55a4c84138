package cond

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Joins reports whether the nft that listed a ruleset joins inequalities: versions before 1.1.0 do. Who loaded the
// ruleset is taken to be the same.
func Joins(rs *ruleset.Ruleset) bool {
	var about struct {
		Version string `json:"version"`
	}
	if json.Unmarshal(rs.Meta, &about) != nil {
		return false
	}
	major, rest, _ := strings.Cut(about.Version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err1 == nil && err2 == nil && (a < 1 || a == 1 && b < 1)
}
