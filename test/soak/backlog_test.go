package soak

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// backlogDrops says how many packets the CPUs had no time for (netdev_max_backlog), in all namespaces: veth hands packets over
// by that queue. An emulated CPU that verifies programs may be busy for longer than the queue lasts.
func backlogDrops(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for line := range strings.Lines(string(text)) {
		var processed, dropped int
		if _, err := fmt.Sscanf(line, "%x %x", &processed, &dropped); err != nil {
			t.Fatalf("read %q of softnet_stat: %v", line, err)
		}
		sum += dropped
	}
	return sum
}
