package vm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// packageSuite is where programs come from that a guest has and the host need not have: the oldest Debian we support, whose
// programs run on later ones too.
const packageSuite = "bookworm"

// FetchPackages returns a directory with the files of Debian packages, from the cache or downloaded first. Dependencies are
// the caller's to name. Nothing is installed on this machine.
func FetchPackages(ctx context.Context, packages ...string) (string, error) {
	names := slices.Sorted(slices.Values(packages))
	dir, err := cacheDir("packages", packageSuite)
	if err != nil {
		return "", fmt.Errorf("fetch packages: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return "", fmt.Errorf("fetch packages: %w", err)
	}
	defer unlock()
	tree := filepath.Join(dir, strings.Join(names, "+"))
	if _, err := os.Stat(tree); err == nil {
		return tree, nil
	}
	tmp, err := os.MkdirTemp(dir, "tmp-")
	if err != nil {
		return "", fmt.Errorf("fetch packages: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	a, err := openArchive(ctx, packageSuite, tmp)
	if err != nil {
		return "", fmt.Errorf("fetch packages: %w", err)
	}
	unpacked := filepath.Join(tmp, "tree")
	if err := a.unpack(ctx, unpacked, names...); err != nil {
		return "", fmt.Errorf("fetch packages: %w", err)
	}
	if err := os.Rename(unpacked, tree); err != nil {
		return "", fmt.Errorf("fetch packages: %w", err)
	}
	return tree, nil
}
