# What tests of the deploy area that need AWS share: a sandbox that is up (test/run.ts brings it up and exports what
# it says).
load ../helpers
: "${SANDBOX_URL:?no sandbox: run the tests by npm test, or first: eval \"\$(npm run --silent sandbox)\"}"

# Scripts may do all in AWS.
as_admin() {
  ENV+=(AWS_ENDPOINT_URL="$AWS_ENDPOINT_URL" AWS_REGION="$AWS_REGION"
    AWS_ACCESS_KEY_ID="$SANDBOX_ADMIN_ACCESS_KEY_ID" AWS_SECRET_ACCESS_KEY="$SANDBOX_ADMIN_SECRET_ACCESS_KEY")
}
