// Keys that are entered here are not stored: `persistAuthorization` is off.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#reference", persistAuthorization: false });
