/* A task definition without its image and without what ECS gives each revision. */
const { taskDefinitionArn, revision, registeredAt, containerDefinitions, ...rest } = JSON.parse(
  (await process.stdin.toArray()).join(''),
);
for (const container of containerDefinitions) delete container.image;
console.log(JSON.stringify({ ...rest, containerDefinitions }));
