// A stand-in for the terminal operations API, fast enough not to be what a benchmark measures.
//
//	api -after 500ms
//
// It listens on loopback and prints its address. An idempotency key runs once. An operation is PENDING, and COMPLETED
// when it is asked for after that long; `updated_at` is then the time of the first answer that says so, so that how
// soon a client asks is no part of how long it takes to tell. It forgets nothing: start another for each run.
package main

import (
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const operations = "/v1/admin/terminals/operations"
const mostRead = 1 << 20

type operation struct {
	ID         string          `json:"id"`
	AccountID  string          `json:"account_id"`
	TerminalID string          `json:"terminal_id"`
	Operation  string          `json:"operation"`
	Parameters json.RawMessage `json:"parameters,omitempty"`
	Status     string          `json:"status"`
	Result     json.RawMessage `json:"result,omitempty"`
	CreatedAt  time.Time       `json:"created_at"`
	CreatedBy  string          `json:"created_by"`
	UpdatedAt  time.Time       `json:"updated_at"`
	UpdatedBy  string          `json:"updated_by"`
}

type api struct {
	after time.Duration
	mutex sync.Mutex
	byKey map[string]string
	byID  map[string]*operation
}

func (a *api) token(w http.ResponseWriter, _ *http.Request) {
	answer(w, 200, map[string]any{"access_token": "token", "token_type": "Bearer", "expires_in": 86400})
}

func (a *api) create(w http.ResponseWriter, r *http.Request) {
	var asked operation
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostRead)).Decode(&asked)
	account, _, found := strings.Cut(asked.TerminalID, "-")
	key := r.Header.Get("Idempotency-Key")
	if err != nil || !found || asked.Operation == "" || key == "" {
		answer(w, 400, failure("BAD_REQUEST", "a key, a terminal_id and an operation are needed"))
		return
	}
	now := time.Now().UTC()
	made := &operation{
		ID: newID(), AccountID: account, TerminalID: asked.TerminalID, Operation: asked.Operation,
		Parameters: asked.Parameters, Status: "PENDING", CreatedAt: now, CreatedBy: "api", UpdatedAt: now, UpdatedBy: "api",
	}
	a.mutex.Lock()
	if id, known := a.byKey[key]; known {
		made = a.byID[id]
	} else {
		a.byKey[key], a.byID[made.ID] = made.ID, made
	}
	told := *made
	a.mutex.Unlock()
	answer(w, 200, told)
}

func (a *api) list(w http.ResponseWriter, r *http.Request) {
	told := []operation{}
	a.mutex.Lock()
	if found := a.byID[r.URL.Query().Get("operation_id")]; found != nil {
		if now := time.Now().UTC(); found.Status == "PENDING" && now.Sub(found.CreatedAt) >= a.after {
			found.Status, found.UpdatedAt, found.Result = "COMPLETED", now, json.RawMessage(`{"batch_id":"1"}`)
		}
		told = append(told, *found)
	}
	a.mutex.Unlock()
	answer(w, 200, told)
}

func (a *api) authorized(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer token" {
			answer(w, 401, failure("UNAUTHORIZED", "unknown token"))
			return
		}
		next(w, r)
	}
}

func failure(code, message string) map[string]any {
	return map[string]any{"error": map[string]string{"code": code, "message": message}}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Print(err)
	}
}

func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func main() {
	after := flag.Duration("after", 500*time.Millisecond, "how long an operation is PENDING")
	flag.Parse()
	a := &api{after: *after, byKey: map[string]string{}, byID: map[string]*operation{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/accounts/{account}/auth/token", a.token)
	mux.HandleFunc("POST "+operations, a.authorized(a.create))
	mux.HandleFunc("GET "+operations, a.authorized(a.list))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, mux))
}
