// Package api is the daemon's interface for other processes: HTTP over a unix socket that only root may open.
//
//	GET /v1/status                            engine.Status
//	GET /v1/flows?src=&dst=&port=&proto=      {"flows": [engine.Flow, ...]}
//	GET /v1/rules                             {"rules": [engine.RuleCount, ...]}
//	GET /v1/refused?...                       {"refused": [engine.Refused, ...]}
//	POST /v1/flush?...                        engine.Flushed; without a condition only with all=true
//	GET /v1/holds                             {"holds": [engine.Hold, ...]}
//	POST /v1/holds?...&for=60s                engine.Flushed; without a condition only with all=true
//	DELETE /v1/holds?...                      {"released": 2}
//
// The conditions of flows are the same everywhere; see engine.Filter.
//
// Everything is JSON; an error is {"error": "..."} with a status that is not 200. Fields are added, never changed.
package api
