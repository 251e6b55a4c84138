// Package api is the daemon's interface for other processes: HTTP over a unix socket that only root may open.
//
//	GET /v1/status                            engine.Status
//	GET /v1/flows?src=&dst=&port=&proto=      {"flows": [engine.Flow, ...]}
//
// Everything is JSON; an error is {"error": "..."} with a status that is not 200. Fields are added, never changed.
package api
