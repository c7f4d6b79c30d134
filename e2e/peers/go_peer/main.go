// A server of the Go SDK that is measured: one constant tool behind a token that the SDK's own middleware asks a verifier for.
// Its ways: `sessions`, which is its default (sessions, answers as event streams), and `json` (neither).
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func fortune(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "今日の運勢は: 大吉"}}}, nil, nil
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: go_peer PORT TOKEN sessions|json")
	}
	port, token, way := os.Args[1], os.Args[2], os.Args[3]
	holders := map[string]*auth.TokenInfo{
		token: {UserID: "bench", Scopes: []string{"fortune"}, Expiration: time.Now().Add(24 * time.Hour)},
	}
	verifier := func(_ context.Context, asked string, _ *http.Request) (*auth.TokenInfo, error) {
		holder, ok := holders[asked]
		if !ok {
			return nil, auth.ErrInvalidToken
		}
		return holder, nil
	}

	server := mcp.NewServer(&mcp.Implementation{Name: "measured", Version: "1.0.0"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "fortune", Description: "Tells a fortune."}, fortune)
	options := &mcp.StreamableHTTPOptions{Stateless: way == "json", JSONResponse: way == "json"}
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, options)
	guard := auth.RequireBearerToken(verifier, &auth.RequireBearerTokenOptions{
		ResourceMetadataURL: "http://localhost:" + port + "/.well-known/oauth-protected-resource/mcp",
	})
	http.Handle("/mcp", guard(handler))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, nil))
}
