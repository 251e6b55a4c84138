package main

import (
	"fmt"
	"log/syslog"
	"os"
)

// spareFromOOM keeps the kernel from ending the guard when memory is short (proc_pid_oom_score_adj(5)). Where that is not
// allowed it is a process like others.
func spareFromOOM() { _ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0) }

// logFailure is for a process that nobody sees: to the kernel's log, which is on the console and in the journal, or to
// syslog where a container has none.
func logFailure(text string) {
	if f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
		defer f.Close() //nolint:errcheck // every write is a record of its own
		if _, err := fmt.Fprintf(f, "<%d>nft-offload: %s\n", syslog.LOG_ERR, text); err == nil {
			return
		}
	}
	if w, err := syslog.New(syslog.LOG_ERR|syslog.LOG_DAEMON, "nft-offload"); err == nil {
		_ = w.Err(text)
		_ = w.Close()
	}
}
